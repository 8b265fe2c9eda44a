"""Which diagnostics a study asks for, and when they are due."""

from collections.abc import Callable

import pytest

from qbench.errors import UsageError
from qbench.study.bundles import BUNDLES
from qbench.study.expand import expand
from qbench.study.schema import DiagnosticEntry, DiagnosticsSettings, Study

Make = Callable[..., Study]


def test_a_bundle_is_named_alone_or_beside_other_settings(make_study: Make) -> None:
    alone = make_study(diagnostics="standard").diagnostics
    beside = make_study(diagnostics={"of": "standard", "images": 64}).diagnostics
    assert alone.of == beside.of
    assert [entry.name for entry in alone.of] == [one["name"] for one in BUNDLES["standard"]]
    assert beside.images == 64
    assert make_study("diagnostics=economy").diagnostics == DiagnosticsSettings()
    assert make_study(diagnostics="none").diagnostics.of == ()


def test_what_follows_a_bundle_replaces_its_own(make_study: Make) -> None:
    settings = {"of": ["standard", {"name": "flip_sets", "layers": 2}, "curvature"]}
    plan = expand(make_study(diagnostics=settings))
    of = next(cell.trial.diagnostics.of for cell in plan.cells if not cell.is_float)
    found = {entry.name: entry for entry in of}
    assert found["flip_sets"].layers == 2
    assert found["flip_descent"].layers == 5
    assert set(found) == {one["name"] for one in BUNDLES["standard"]} | {"curvature"}


def test_each_bundle_holds_the_one_before() -> None:
    names = [{one["name"] for one in BUNDLES[name]} for name in ("economy", "standard", "full")]
    assert names[0] < names[1] < names[2]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_bundle_names_registered_diagnostics(make_study: Make, bundle: str) -> None:
    assert expand(make_study(diagnostics=bundle)).cells


@pytest.mark.parametrize(
    ("entry", "epochs", "due"),
    [
        ({"every": 2}, 5, [0, 2, 4, 5]),  # the end always counts
        ({"checkpoints": 3}, 30, [0, 15, 30]),
        ({"checkpoints": 5}, 30, [0, 8, 15, 22, 30]),  # 7.5 and 22.5 round to even
        ({"checkpoints": 1}, 30, [30]),
        ({"checkpoints": 5}, 2, [0, 1, 2]),  # no epoch twice
        ({}, 30, [0, 15, 30]),
    ],
)
def test_when_a_diagnostic_is_due(entry: dict[str, int], epochs: int, due: list[int]) -> None:
    chosen = DiagnosticEntry.model_validate({"name": "flip_sets", **entry})
    assert [epoch for epoch in range(epochs + 1) if chosen.due(epoch, epochs)] == due


@pytest.mark.parametrize(
    ("diagnostics", "words"),
    [
        ("ecnomy", "there is no bundle of diagnostics 'ecnomy'; did you mean 'economy'?"),
        ({"of": ["flip_set"]}, "there is no diagnostic 'flip_set'; did you mean 'flip_sets'?"),
        ({"of": [{"name": "flip_sets", "every": 1, "checkpoints": 3}]}, "both every and checkp"),
        ({"of": [{"name": "flip_sets", "options": {"stes": 3}}]}, "'stes'"),
        ({"of": [{"name": "flip_sets", "options": {"sets": 0}}]}, "options.sets: 0 is not allowed"),
        ({"of": [{"name": "flip_sets", "options": {"shares": [0.1, -1]}}]}, "-1.0 is not allowed"),
        ({"of": [{"name": "flip_sets", "layers": 0}]}, "0 is not allowed"),
    ],
)
def test_a_fault_is_one_sentence(make_study: Make, diagnostics: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand(make_study(diagnostics=diagnostics))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
