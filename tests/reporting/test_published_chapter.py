"""Published numbers beside a study's own: exactly those planted, and what is said of them."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import fill, make_plan, make_trial

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Heading, Items, Part, Table, Text
from qbench.reporting.latex import render_latex
from qbench.reporting.markdown import render_markdown
from qbench.reporting.published import PublishedRow
from qbench.reporting.published_chapter import published_chapter
from qbench.reporting.published_protocol import differences, distance, matches
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Component

NETWORK = {"models": ("resnet20",), "data": ("cifar10",), "bits": ("W2A2",)}


def row(top1: str | None, kind: str = "paper", **more: Any) -> PublishedRow:
    values = {
        "method": "lsq", "kind": kind, "model": "resnet20", "data": "cifar10", "weight_bits": 2,
        "activation_bits": 2, "top1": top1, "float_top1": "92" if top1 else None, "drop": None,
        "tag": "verified", "float_tag": "verified" if top1 else None, "source": "A paper",
        "flags": "epochs=20", "note": "",
    } | more  # fmt: skip
    if values["float_top1"] is None:
        values["float_tag"] = None
    return PublishedRow.model_validate(values)


@pytest.fixture
def chapter(tmp_path: Path) -> Callable[..., list[Part]]:
    def make(table: Sequence[PublishedRow], plan: Plan | None = None, **more: Any) -> list[Part]:
        plan = plan or make_plan(**NETWORK)
        # Drops of 5.0, 5.5 and 6.0 points: the t interval of 3 seeds is 5.5 ± 4.303 · 0.5 / √3
        fill(tmp_path, plan, lambda cell: planted(cell))
        return list(published_chapter(Comparison(plan, tmp_path), table=table, **more))

    return make


def planted(cell: Cell) -> float:
    return 0.95 if cell.is_float else 0.90 - 0.005 * cell.trial.seed


def table_of(parts: Sequence[Part]) -> Table:
    (found,) = (part for part in parts if isinstance(part, Table))
    return found


def texts(parts: Sequence[Part]) -> dict[str, list[str]]:
    return {name: [entry.text for entry in entries] for name, entries in table_of(parts).rows}


def test_exactly_what_is_planted(chapter: Callable[..., list[Part]]) -> None:
    parts = chapter(
        [
            row("86.9"),
            row("87.5", "rerun", source="Somebody", float_top1="91"),
            row("88.8", "quoted", source="A table", float_top1=None),
            row("50", method="daq"),
            row("50", model="resnet32"),
            row("50", data="cifar100"),
            row("50", weight_bits=3),
        ]
    )
    interval = "5.50 [4.26, 6.74]"  # 4.303 · 0.5 / √3 = 1.242
    assert texts(parts) == {
        "lsq": [
            "5.10 (86.9) [S1]", "3.50 (87.5) [S2]; — (88.8) [S3]",
            f"{interval} (89.50; 3 seeds)", "+0.40", "yes",
        ]
    }  # fmt: skip
    values = [entry.value for entry in table_of(parts).rows[0][1]]
    assert values == pytest.approx([5.1, 3.5, 5.5, 0.4, 1.0])
    *_, protocols, _, sources = parts
    assert sources == Items(("[S1] A paper", "[S2] Somebody", "[S3] A table"))
    assert isinstance(protocols, Items)
    assert all("no difference in what is known" in line for line in protocols.items)
    assert "Without a published number in these settings: ste." in table_of(parts).notes
    assert "resnet20, cifar10, W2A2" in table_of(parts).caption


def test_a_drop_outside_the_interval_and_one_that_is_printed_alone(
    chapter: Callable[..., list[Part]],
) -> None:
    parts = chapter([row("80.5"), row(None, drop="5.2", source="Another table")])
    paper, _, _, minus, inside = texts(parts)["lsq"]
    assert paper == "11.50 (80.5) [S1]; 5.20 [S2]"
    assert minus == "−6.00 to +0.30"
    assert inside == "1 of 2"


def test_fewer_than_three_seeds_claim_nothing(chapter: Callable[..., list[Part]]) -> None:
    parts = chapter([row("86.9")], make_plan(**NETWORK, seeds=(0, 1)))
    assert texts(parts)["lsq"] == ["5.10 (86.9) [S1]", "—", "5.25 (89.75; 2 seeds)", "+0.15", "—"]
    assert any("fewer than 3 seeds" in note for note in table_of(parts).notes)


def test_recalled_numbers_are_counted_and_shown_only_on_request(
    chapter: Callable[..., list[Part]],
) -> None:
    table = [
        row("86.9"),
        row("70.1", source="Memory", tag="recalled"),
        row("70.2", "rerun", source="Notes", tag="secondary"),
        row("70.3", "rerun", source="Half", float_tag="recalled"),
    ]
    parts = chapter(table)
    assert texts(parts)["lsq"][:2] == ["5.10 (86.9) [S1]", "— (70.3) [S2]"]
    assert "Memory" not in render_markdown(parts)
    notes = table_of(parts).notes
    assert (
        "2 published numbers are not shown: recalled, or read in notes about the source." in notes
    )
    assert "1 drop is not shown: the float accuracy was not read at its source." in notes

    parts = chapter(table, include_recalled=True)
    assert texts(parts)["lsq"][:2] == [
        "5.10 (86.9) [S1]; 21.90 (70.1)? [S2]", "21.80 (70.2)? [S3]; 21.70 (70.3)? [S4]",
    ]  # fmt: skip
    assert any(note.startswith("?: recalled") for note in table_of(parts).notes)
    assert not any("not shown" in note for note in table_of(parts).notes)


def test_where_all_are_recalled_they_are_counted_alone(chapter: Callable[..., list[Part]]) -> None:
    heading, notes = chapter([row("86.9", tag="recalled")])
    assert heading == Heading("Beside published results")
    assert isinstance(notes, Items)
    assert notes.items[0].startswith("1 published number is not shown")


def test_sources_that_differ_are_both_shown_with_the_spread(
    chapter: Callable[..., list[Part]],
) -> None:
    table = [
        row("86.9", flags="epochs=20;disputed", note="Theirs is lower"),
        row("84.8", "quoted", source="B", flags="disputed", note="A paper has 86.9"),
    ]
    parts = chapter(table)
    assert texts(parts)["lsq"][:2] == ["5.10 (86.9)! [S1]", "7.20 (84.8)! [S2]"]
    (note,) = (note for note in table_of(parts).notes if note.startswith("! lsq"))
    assert "differ by 2.1 points of accuracy, 2.1 points of drop" in note
    assert "Theirs is lower" in note
    assert "A paper has 86.9" in note


def test_many_runs_of_one_source_are_a_range(chapter: Callable[..., list[Part]]) -> None:
    runs = [row(f"8{i}.5", "rerun", note=f"run {i}") for i in range(5)]
    assert texts(chapter(runs))["lsq"][1] == "7.50 to 11.50 (80.5 to 84.5; 5 numbers) [S1]"


def test_nothing_matched_is_nothing(chapter: Callable[..., list[Part]]) -> None:
    assert chapter([row("86.9", model="resnet32")]) == []
    assert chapter([]) == []


def test_a_row_without_a_result_says_why(tmp_path: Path) -> None:
    parts = list(published_chapter(Comparison(make_plan(**NETWORK), tmp_path), table=[row("86")]))
    assert texts(parts)["lsq"][2:] == ["missing (3 of 3)", "—", "—"]


@pytest.mark.parametrize(
    ("flags", "data", "words"),
    [
        ("epochs=400", {}, "far fewer epochs (lsq: 20, where a source has 400)"),
        ("epochs=41", {}, "far fewer epochs"),  # 20 is below half of 41
        ("epochs=20", {"limit": 1000}, "it trains on 1000 images only"),
    ],
)
def test_a_small_study_says_first_that_it_is_no_reproduction(
    chapter: Callable[..., list[Part]], flags: str, data: dict[str, Any], words: str
) -> None:
    plan = make_plan(**NETWORK)
    cells = [with_data(cell, data) for cell in plan.cells]
    first = chapter([row("86.9", flags=flags)], Plan(plan.study, tuple(cells)))[1]
    assert isinstance(first, Text)
    assert first.text.startswith("This study is not a reproduction: ")
    assert words in first.text


def with_data(cell: Cell, data: dict[str, Any]) -> Cell:
    return Cell(
        cell.trial.model_copy(update={"data": cell.trial.data.model_copy(update=data)}), cell.label
    )


def test_a_whole_study_claims_no_reproduction(chapter: Callable[..., list[Part]]) -> None:
    first = chapter([row("86.9", flags="epochs=40")])[1]  # 20 is half of 40
    assert isinstance(first, Text)
    assert "not a reproduction" not in first.text
    assert "Nothing here says that a result is reproduced" in first.text


def test_a_label_with_options_shows_them(chapter: Callable[..., list[Part]]) -> None:
    trial = make_trial("lsq", "W2A2", 0, "resnet20", "cifar10")
    own = trial.model_copy(
        update={"quantizer": Component(name="lsq", options={"gradient_scale": False})}
    )
    parts = chapter([row("86.9")], make_plan(**NETWORK, extra=[Cell(own, "my row")]))
    assert "my row [lsq (gradient_scale=false)]" in texts(parts)


HOSTILE = r"50%_$x$|<b>&\cmd{}#~^"


def test_hostile_labels_and_sources_come_through(
    chapter: Callable[..., list[Part]], tmp_path: Path
) -> None:
    trials = [make_trial("lsq", "W2A2", seed, "resnet20", "cifar10") for seed in range(3)]
    plan = make_plan(("float",), **NETWORK, extra=[Cell(trial, HOSTILE) for trial in trials])
    parts = chapter([row("86.9", source=HOSTILE, note=HOSTILE, flags="disputed")], plan)
    text = render_markdown(parts)
    assert "<b>" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 3  # head, rule, one row
    tables = [part for part in parts if isinstance(part, Table)]
    (tmp_path / "t.tex").write_text(render_latex(tables, HOSTILE))
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "t.tex"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


TRIAL = make_trial("lsq", "W2A2", 0, "resnet20", "cifar10")


def test_a_data_set_with_options_is_another_one() -> None:
    small = TRIAL.data.model_copy(update={"options": {"size": 16}})
    assert not matches(row("86.9"), TRIAL.model_copy(update={"data": small}))


def test_a_model_with_options_is_another_one() -> None:
    wide = TRIAL.model_copy(update={"model": Component(name="resnet20", options={"shortcut": "B"})})
    assert matches(row("86.9"), TRIAL)
    assert not matches(row("86.9"), wide)
    assert matches(row("86.9", flags="model.shortcut=B"), wide)
    assert matches(row("86.9", flags="model.shortcut=B"), TRIAL)  # a difference that is told
    weights = Component(name="torchvision/resnet18", options={"weights": "x.pth"})
    started = TRIAL.model_copy(update={"model": weights})
    assert matches(row("86.9", model="torchvision/resnet18"), started)
    assert not differences(row("86.9", flags="pretrained_start"), started)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("epochs=400", "400 epochs, ours 200"),
        ("batch=256", "batches of 256, ours 128"),
        ("optimizer=adam", "optimizer adam, ours sgd"),
        ("augmentation=flip", "augmentation flip, ours crop+flip"),  # CIFAR-10's own
        ("first_last_quantized", "ours first and last layer in float"),
        ("first_last_8bit", "first and last layer in 8 bits, ours first and last layer in float"),
        ("shortcut_quantized", "1x1 shortcuts quantized, ours 1x1 shortcuts in float"),
        ("pretrained_start", "ours start from random weights"),
        ("model.shortcut=B", "model option shortcut=B, ours A"),
        ("best_epoch", "the best epoch, ours the last"),
        ("mean_epochs=10", "the mean of the last 10 epochs, ours the last"),
        ("distillation", "distillation"),
    ],
)
def test_a_difference_is_told(flags: str, words: str) -> None:
    (found,) = differences(row("86.9", flags=flags), TRIAL)
    assert words in found


@pytest.mark.parametrize(
    "flags",
    ["epochs=200", "batch=128", "optimizer=sgd", "augmentation=crop+flip", "first_last_float",
     "shortcut_float", "scratch_start", "model.shortcut=A", "levels=3", "disputed", "runs=5"],
)  # fmt: skip
def test_what_is_equal_is_not_told(flags: str) -> None:
    assert differences(row("86.9", flags=flags), TRIAL) == []


def test_shortcuts_are_not_compared_where_ours_has_none() -> None:
    published = row("86.9", flags="model.shortcut=B;shortcut_quantized")
    assert differences(published, TRIAL) == ["model option shortcut=B, ours A"]


def test_another_method_for_activations_is_told() -> None:
    other = TRIAL.model_copy(update={"activations": Component(name="ste")})
    assert differences(row("86.9"), other)[-1] == "ours quantizes activations by ste"


def test_the_nearest_variant_is_shown_and_others_are_counted(
    chapter: Callable[..., list[Part]],
) -> None:
    options = {"refinement": "adam"}
    trials = [
        make_trial("metaquant", "W1A32", seed, "resnet20", "cifar10").model_copy(
            update={"quantizer": Component(name="metaquant", options=options)}
        )
        for seed in range(3)
    ]
    cells = [Cell(trial, "metaquant") for trial in trials]
    plan = make_plan(("float",), **NETWORK | {"bits": ("W1A32",)}, extra=cells)
    same = {"method": "metaquant", "weight_bits": 1, "activation_bits": 32}
    table = [
        row("81", **same, flags="options.refinement=sgd;options.meta=fcgrad"),
        row("82", **same, flags="options.refinement=adam;options.meta=fcgrad"),
        row("83", **same, flags="options.refinement=adam;options.meta=multifc"),
        row("84", **same, flags="options.refinement=adam;options.meta=fcgrad;best_epoch"),
        row(None, **same, drop="0.7", flags=""),
    ]
    assert [distance(one, trials[0]) for one in table] == [1, 0, 1, 1, 0]
    parts = chapter(table, plan)
    ((_, entries),) = table_of(parts).rows
    assert entries[0].text == "10.00 (82), 0.70 [S1]"
    assert any(
        note.startswith("3 published numbers are not shown") for note in table_of(parts).notes
    )


def test_the_packaged_table_is_the_default(tmp_path: Path) -> None:
    plan = make_plan(("float", "daq"), **NETWORK | {"bits": ("W1A1",)})
    fill(tmp_path, plan, planted)
    comparison = Comparison(plan, tmp_path)
    parts = list(published_chapter(comparison))
    assert texts(parts)["daq"][0] == "5.60 (85.8) [S1]"  # 91.4 - 85.8, QuantLib's README
    assert parts == list(published_chapter(comparison))
    assert row("85.8", float_top1="91.4").points == Decimal("5.6")
