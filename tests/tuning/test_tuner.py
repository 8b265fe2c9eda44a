"""The plan of a tuned study as scores come in."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from qbench.errors import UsageError
from qbench.study.expressions import Expression
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tuning.tuner import Tuner
from qbench.tuning.walk import FAILED

MakePlan = Callable[..., Plan]


def by_rate(trial: Trial) -> float:
    """Better the nearer the learning rate is to 0.03."""
    rate = trial.training.optimizer.learning_rate
    return 1 - abs(rate - 0.03)


def unknown(trial: Trial) -> None:
    return None


def test_every_row_has_the_same_budget_the_float_network_too(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan()).plan(unknown)
    spent = Counter(
        (one.label, str(one.trial.bits), one.round, one.trial.last_epoch) for one in plan.attempts
    )
    assert set(spent.values()) == {5}
    assert {label for label, *_ in spent} == {"float", "ste", "daq wide"}
    assert len(spent) == (1 + 2 + 2) * 2, "rows with their bits, in two rounds"
    assert plan.open == (1 + 2 + 2) * 2 * 2, "a final trial a cell and round is to be chosen"
    assert plan.open_epochs == plan.open * 6


def test_a_method_adds_its_knobs_and_all_share_the_recipes_draws(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan()).plan(unknown)
    rates: dict[str, list[Any]] = {}
    for one in plan.attempts:
        gamma = one.settings.get("options.gamma")
        assert (gamma is not None) == (one.label == "daq wide" and one.number > 0)
        if one.round == 1 and str(one.trial.bits) != "W2A2":
            rates.setdefault(one.label, []).append(one.trial.training.optimizer.learning_rate)
    assert rates["float"] == rates["ste"] == rates["daq wide"]
    assert rates["ste"][0] == 0.1, "the row's own value comes first"
    assert all(0.01 <= rate <= 1 for rate in rates["ste"])


def test_a_search_opens_no_test_set_and_measures_no_diagnostic(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan(start="float")).plan(unknown)
    searching = [*plan.search_starts, *(one.trial for one in plan.attempts)]
    assert {trial.judged_on for trial in searching} == {"validation"}
    assert {trial.seed for trial in searching} == {1000, 1001}
    assert not any(one.trial.diagnostics.of for one in plan.attempts)
    needed = {trial.needs for trial in searching if trial.needs}
    assert needed == {trial.name for trial in plan.search_starts}
    finals = [cell.trial for cell in plan.cells]
    assert {trial.judged_on for trial in finals} == {"test"}


def test_the_best_of_each_round_is_run_with_every_seed(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan()).plan(by_rate)
    assert plan.open == plan.open_epochs == 0
    best = {(one.attempt.label, str(one.attempt.trial.bits), one.attempt.round): one.attempt
            for one in plan.choices}  # fmt: skip
    assert len(best) == (1 + 2 + 2) * 2
    for key, chosen in best.items():
        rivals = [one.trial for one in plan.attempts
                  if (one.label, str(one.trial.bits), one.round) == key]  # fmt: skip
        assert by_rate(chosen.trial) == max(map(by_rate, rivals))
    tuned = [cell for cell in plan.cells if cell.round]
    assert len(tuned) == (1 + 2 + 2) * 2 * 2
    for cell in tuned:
        chosen = best[cell.label, str(cell.trial.bits), cell.round]
        assert cell.trial.training.optimizer == chosen.trial.training.optimizer
        assert cell.trial.quantizer == chosen.trial.quantizer
        assert cell.trial.training.epochs == 6
        assert cell.trial.seed in (0, 1)
    own = [cell for cell in plan.cells if not cell.round]
    assert {cell.label for cell in own} == {
        "float [untuned]", "ste [untuned]", "daq wide [untuned]",
    }  # fmt: skip
    base = make_plan()
    assert {cell.trial.name for cell in own} == {cell.trial.name for cell in base.cells}


def test_shorter_epochs_shorten_the_schedule(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan({"epochs": 3})).plan(by_rate)
    for one in plan.attempts:
        schedule = one.trial.training.schedule
        assert one.trial.training.epochs == 3
        assert (schedule.milestones, schedule.warmup_epochs) == ((1.5,), 1.0)
    assert {cell.trial.training.epochs for cell in plan.cells} == {6}


def test_ablations_vary_around_the_tuned_values(make_plan: MakePlan) -> None:
    vary = {"options.weight_sigma": [0.5], "training.optimizer.learning_rate": [0.3]}
    plan = make_plan(ablations=[{"quantizer": "daq wide", "vary": vary}])
    tuned = Tuner(plan).plan(by_rate)
    chosen = {(str(one.attempt.trial.bits), one.attempt.round): one.attempt
              for one in tuned.choices if one.attempt.label == "daq wide"}  # fmt: skip
    varied = [cell for cell in tuned.cells if cell.ablation and cell.round]
    assert len(varied) == 2 * 2 * 2 * 2, "two values, two bits, two seeds, two rounds"
    for cell in varied:
        best = chosen[str(cell.trial.bits), cell.round].trial
        assert cell.trial.quantizer.options.get("gamma") == best.quantizer.options.get("gamma")
        rate = cell.trial.training.optimizer.learning_rate
        if "learning_rate" in cell.ablation:
            assert rate == 0.3, "what the ablation sets, the search does not"
        else:
            assert rate == best.training.optimizer.learning_rate
    assert not any(one.label.startswith("daq wide [") for one in tuned.attempts)


def test_halving_goes_on_from_the_rung_before(make_plan: MakePlan) -> None:
    tuner = Tuner(make_plan({"scheduler": "asha", "reduction": 2}))
    first = tuner.plan(unknown)
    assert {one.trial.until for one in first.attempts} == {1}, "only first rungs are known"
    plan = tuner.plan(by_rate)
    whole = [one for one in plan.attempts if one.last]
    assert 0 < len(whole) < len([one for one in plan.attempts if one.trial.until == 1])
    names = plan.trials()
    for one in plan.attempts:
        before = one.trial.continues
        if one.trial.until == 1:
            assert not before
        else:
            assert names[before].last_epoch < one.trial.last_epoch
            assert names[before].training == one.trial.training
            assert one.trial.needs == before
    assert {one.attempt.last for one in plan.choices} == {True}


def test_a_grid_of_few_points_chooses_all_the_same(make_plan: MakePlan) -> None:
    rates = {"training.optimizer.learning_rate": [0.01, 0.03]}
    plan = make_plan({"searcher": "grid", "recipe": rates, "spaces": {}}, quantizers=["ste"])
    tuned = Tuner(plan).plan(by_rate)
    assert {one.number for one in tuned.attempts} == {0, 1, 2}, "its own, and two points"
    assert tuned.open == 0
    assert {tuple(one.attempt.settings.values()) for one in tuned.choices} == {(0.03,)}


def test_a_sequential_search_is_open_until_its_end(make_plan: MakePlan) -> None:
    plan = make_plan({"searcher": "optuna", "trials": 13, "spaces": {}}, quantizers=["ste"])
    tuner = Tuner(plan)
    first = tuner.plan(unknown)
    assert {one.number for one in first.attempts} == set(range(11)), "its own, and ten random ones"
    assert first.open == 2 * 2 * (2 + 2), "two trials a search, and a final one a cell and round"
    known = {one.trial.name for one in first.attempts if one.number < 11}
    then = tuner.plan(lambda trial: by_rate(trial) if trial.name in known else None)
    assert {one.number for one in then.attempts} == set(range(12))
    assert not then.choices
    assert {one.number for one in tuner.plan(by_rate).attempts} == set(range(13))


def test_where_every_trial_fails_the_rows_own_values_are_kept(make_plan: MakePlan) -> None:
    plan = Tuner(make_plan()).plan(lambda trial: FAILED)
    assert plan.open == 0
    assert {one.attempt.number for one in plan.choices} == {0}
    assert {one.score for one in plan.choices} == {FAILED}


def test_a_part_of_a_study_searches_for_its_own_rows(make_plan: MakePlan) -> None:
    from qbench.study.select import select

    part = select(make_plan(), "quantizer == 'ste' and weight_bits == 2 and seed == 0")
    plan = Tuner(part).plan(by_rate)
    assert {one.label for one in plan.attempts} == {"ste"}
    whole = Tuner(make_plan()).plan(by_rate)
    assert set(plan.trials()) < set(whole.trials()), "trials of the part are trials of the whole"
    assert Expression("seed == 0").matches(plan.cells[0])


BAD: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"trials": 0}, {}, ["tuning.trials", "0", "more than 0"]),
    ({"rounds": 0}, {}, ["tuning.rounds", "more than 0"]),
    ({"searcher": "grids"}, {}, ["grids", "grid"]),
    ({"recipe": {"training.optimizer.learning_rate": {"low": 1, "high": 0.1}}}, {},
     ["low 1", "high 0.1", "smaller one first"]),
    ({"recipe": {"training.optimizer.learning_rate": []}}, {}, ["[]", "one choice or more"]),
    ({"recipe": {"training.optimizer.learning_rate": [0.1, 0.1]}}, {}, ["each once"]),
    ({"recipe": {"training.optimizer.learning_rate": {"low": -1, "high": 1, "log": True}}}, {},
     ["above 0"]),
    ({"recipe": {"training.optimizer.rate": [0.1]}}, {}, ["rate", "learning_rate"]),
    ({"recipe": {"momentum": [0.1]}}, {}, ["momentum", "options.", "training."]),
    ({"recipe": {"training.optimizer.learning_rate": "fast"}}, {}, ["fast", "{low: 0.01"]),
    ({"recipe": {"training.optimizer.learning_rate": [0.1, -3]}}, {}, ["-3", "more than 0"]),
    ({"spaces": {"lsq": {}}}, {}, ["lsq", "ste"]),
    ({"spaces": {"daq": {"options.gama": [1.0]}}}, {}, ["gama", "gamma"]),
    ({"spaces": {"daq": {"options.gamma": ["big"]}}}, {}, ["a number", "big"]),
    ({"recipe": {}, "spaces": {}}, {}, ["float", "nothing to search"]),
    ({"seed": 1}, {}, ["seed 1", "final runs"]),
    ({}, {"data": {"sets": ["digits"]}}, ["validation", "hold out some"]),
]  # fmt: skip


@pytest.mark.parametrize(("tuning", "changes", "words"), BAD)
def test_bad_tuning_is_one_sentence(
    make_plan: MakePlan, tuning: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(tuning, **changes)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_a_searcher_without_its_library_says_what_to_install(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plan = make_plan({"searcher": "random"})
    optuna = plan.study.model_copy(
        update={"tuning": plan.study.tuning.model_copy(update={"searcher": "optuna"})}  # type: ignore[union-attr]
    )
    with pytest.raises(UsageError, match=r"pip install 'qbench-harness\[optuna\]'"):
        Tuner(Plan(optuna, plan.cells))
