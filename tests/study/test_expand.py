"""The grid: which trials a study has, what makes two of them one, and what they start from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qbench.errors import UsageError
from qbench.study.bundles import BUNDLES
from qbench.study.expand import expand
from qbench.study.schema import Study
from qbench.study.trial import Trial

Make = Callable[..., Study]


def labels(make: Make, *overrides: str, **changes: object) -> list[str]:
    return list(dict.fromkeys(cell.label for cell in expand(make(*overrides, **changes)).cells))


def test_the_grid_is_a_product_with_float_once(make_study: Make) -> None:
    plan = expand(make_study())
    # 2 quantizers x 2 models x 1 data set x 2 bits x 2 seeds, and float without the bits
    assert len(plan.cells) == 2 * 2 * 2 * 2 + 2 * 2
    assert len(plan.trials()) == len(plan.cells)
    floats = {str(cell.trial.bits) for cell in plan.cells if cell.is_float}
    assert floats == {"W32A32"}


def test_trials_survive_their_json(make_study: Make) -> None:
    """They are put together without validation; a worker gets the same from ``trial.json``."""
    for trial in expand(make_study(start="float")).trials().values():
        again = Trial.model_validate_json(trial.model_dump_json(), strict=True)
        assert again == trial
        assert again.id == trial.id


def test_what_equals_a_default_does_not_count(make_study: Make) -> None:
    plain = expand(make_study()).trials().keys()
    written = make_study(
        quantizers=[
            "float",
            {"name": "ste", "options": {"weight_backward": "identity"}, "activations": "ste"},
            {"name": "lsq", "label": "steps", "options": {"gradient_scale": True},
             "training": {"epochs": 3, "batch": 128}},
        ],
        keep_float=["shortcut", "last", "first", "last"],
        diagnostics={"of": list(reversed(BUNDLES["economy"])), "images": 256},
        resources={"cpus": 2},
    )  # fmt: skip
    assert expand(written).trials().keys() == plain


@pytest.mark.parametrize(
    "override",
    ["training.batch=64", "data.validation=50", "keep_float=[first]", "diagnostics=standard",
     "data.limit=500", "start=float", "quantizers.1.options.weight_backward=clipped",
     "quantizers.1.activations=dorefa"],
)  # fmt: skip
def test_what_changes_a_number_changes_the_trial(make_study: Make, override: str) -> None:
    before = {name for name, trial in expand(make_study()).trials().items()
              if trial.quantizer.name == "ste"}  # fmt: skip
    after = {name for name, trial in expand(make_study(override)).trials().items()
             if trial.quantizer.name == "ste"}  # fmt: skip
    assert len(before) == len(after)
    assert not before & after


def test_float_trials_do_not_depend_on_what_stays_float_or_is_measured(make_study: Make) -> None:
    def floats(*overrides: str) -> set[str]:
        plan = expand(make_study(*overrides))
        return {cell.trial.name for cell in plan.cells if cell.is_float}

    assert floats() == floats("keep_float=[first]") == floats("bits=[W4A4]")
    assert floats() == floats("diagnostics=full")


def test_a_row_changes_single_settings_of_the_recipe(make_study: Make) -> None:
    study = make_study("quantizers.2.training.optimizer={momentum: 0.5}")
    trainings = {cell.label: cell.trial.training for cell in expand(study).cells}
    assert trainings["ste"] == study.training
    changed = trainings["lsq"]
    assert changed.epochs == 3  # what the row said before
    assert changed.optimizer.momentum == 0.5
    assert changed.optimizer.learning_rate == study.training.optimizer.learning_rate


def test_start_float_takes_the_float_row(make_study: Make) -> None:
    plan = expand(make_study(start="float"))
    assert plan.needed == ()
    floats = {cell.trial.name: cell.trial for cell in plan.cells if cell.is_float}
    for cell in plan.cells:
        trial = cell.trial
        if cell.is_float:
            assert trial.start == "scratch"
        else:
            start = floats[str(trial.needs)]
            assert (start.model, start.data, start.seed) == (trial.model, trial.data, trial.seed)
    names = list(plan.trials())
    assert set(names[: len(floats)]) == set(floats)  # they come first


def test_start_float_without_a_float_row_adds_what_it_needs(make_study: Make) -> None:
    plan = expand(make_study(start="float", quantizers=["ste", "lsq"]))
    assert len(plan.needed) == 2 * 2  # models x seeds
    for trial in plan.needed:
        assert trial.quantizer.name == "float"
        assert trial.training == plan.study.training
    with_row = expand(make_study(start="float"))
    assert {t.name for t in plan.needed} == {c.trial.name for c in with_row.cells if c.is_float}


def test_start_float_keeps_the_float_rows_recipe_and_its_excluded_cells(make_study: Make) -> None:
    rows = [{"name": "float", "training": {"epochs": 9}}, "ste"]
    exclusion = [{"where": "quantizer == 'float' and seed == 1", "because": "one is enough"}]
    plan = expand(make_study(start="float", quantizers=rows, exclude=exclusion))
    assert {trial.seed for trial in plan.needed} == {1}
    assert all(plan.trials()[str(cell.trial.needs)].training.epochs == 9
               for cell in plan.cells if not cell.is_float)  # fmt: skip


def test_start_file_is_known_by_its_content(make_study: Make, tmp_path: Path) -> None:
    def starts(name: str, content: bytes) -> set[str]:
        (tmp_path / name).write_bytes(content)
        return {cell.trial.start for cell in expand(make_study(start=str(tmp_path / name))).cells}

    (one,) = starts("a.pt", b"weights")
    assert one.startswith("file:")
    assert starts("b.pt", b"weights") == {one}
    assert starts("b.pt", b"others") != {one}


def test_labels_are_made_from_what_is_set(make_study: Make) -> None:
    rows = [
        "ste",
        {"name": "ste", "options": {"weight_backward": "clipped"}},
        {"name": "ste", "label": "mine", "options": {"weight_backward": "clipped"}},
        {"name": "lsq", "activations": {"name": "ste", "options": {"activation_backward":
                                                                    "identity"}}},
        {"name": "lsq", "activations": "lsq"},
    ]  # fmt: skip
    assert labels(make_study, quantizers=rows) == [
        "ste", "ste (weight_backward=clipped)", "mine",
        "lsq + ste (activation_backward=identity)", "lsq",
    ]  # fmt: skip


FACTORS = {
    "options.weight_backward": ["identity", "clipped", "polynomial"],
    "training.optimizer.learning_rate": [0.1, 0.01],
}


def test_an_ablation_changes_one_factor_at_a_time(make_study: Make) -> None:
    plan = expand(make_study(ablations=[{"quantizer": "ste", "vary": FACTORS}]))
    rows = {cell.label: cell for cell in plan.cells if cell.ablation}
    # identity and 0.1 are the row's own
    assert {label: cell.ablation for label, cell in rows.items()} == {
        "ste [weight_backward=clipped]": "options.weight_backward=clipped",
        "ste [weight_backward=polynomial]": "options.weight_backward=polynomial",
        "ste [optimizer.learning_rate=0.01]": "training.optimizer.learning_rate=0.01",
    }
    slow = rows["ste [optimizer.learning_rate=0.01]"].trial
    assert slow.training.optimizer.learning_rate == 0.01
    assert slow.quantizer.options == {}


def test_a_crossed_ablation_makes_every_combination_but_the_rows_own(make_study: Make) -> None:
    ablation = {"quantizer": "ste", "vary": FACTORS, "cross": True}
    cells = [cell for cell in expand(make_study(ablations=[ablation])).cells if cell.ablation]
    assert len({cell.label for cell in cells}) == 3 * 2 - 1
    assert len({cell.trial.name for cell in cells}) == len(cells)


def test_an_ablation_of_a_name_that_several_rows_have(make_study: Make) -> None:
    rows = [{"name": "ste", "label": label, "training": {"epochs": epochs}}
            for label, epochs in (("short", 1), ("long", 9))]  # fmt: skip
    ablation = {"quantizer": "ste", "vary": {"options.weight_backward": ["clipped"]}}
    with pytest.raises(UsageError, match="several rows; name one of 'short', 'long'"):
        make_study(quantizers=rows, ablations=[ablation])
    ablation["quantizer"] = "long"
    found = [c for c in expand(make_study(quantizers=rows, ablations=[ablation])).cells
             if c.ablation]  # fmt: skip
    assert {(c.label, c.trial.training.epochs) for c in found} == {
        ("long [weight_backward=clipped]", 9)
    }


def test_a_value_that_is_varied_twice_is_an_error(make_study: Make) -> None:
    vary = {"options.weight_backward": ["clipped", "clipped"]}
    with pytest.raises(UsageError, match="two rows have the label"):
        make_study(ablations=[{"quantizer": "ste", "vary": vary}])


def test_exclusions_are_counted_once_each_and_empty_ones_too(make_study: Make) -> None:
    exclusions = [
        {"where": "quantizer == 'lsq' and weight_bits == 2", "because": "a"},
        {"where": "bits == 'W2A2' and model == 'mlp'", "because": "b"},
        {"where": "data == 'mnist' or label in ['x', 'y'] or ablation != ''", "because": "c"},
    ]
    plan = expand(make_study(exclude=exclusions))
    # a: 2 models x 2 seeds; b: the two seeds of ste that a has not taken; c: nothing
    assert [rule.count for rule in plan.excluded] == [4, 2, 0]
    assert len(plan.cells) == 20 - 6
    assert plan.excluded[0].because == "a"


def test_two_rows_may_share_their_trials(make_study: Make) -> None:
    plan = expand(make_study(quantizers=["ste", {"name": "ste", "label": "again"}]))
    assert len(plan.cells) == 2 * len(plan.trials())
