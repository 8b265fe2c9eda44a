"""Searches as pure functions of what was tried: suggestions, rungs, the choice."""

import math
from collections.abc import Callable, Sequence
from random import Random

import pytest

from qbench.study.spaces import Choices, Range, Space, lattice, read_space
from qbench.tuning.halving import goes_on, rungs
from qbench.tuning.searchers import SEARCHERS, suggestions
from qbench.tuning.walk import FAILED, Walk, choice, walk

SPACE: dict[str, Space] = {
    "rate": Range(0.001, 1.0, log=True),
    "clip": Range(-1, 2),
    "depth": Range(2, 9, whole=True),
    "rule": Choices(("a", "b", "c")),
}


def quality(settings: dict[str, object]) -> float:
    """Best at rate 0.1 and rule b."""
    rate = settings["rate"]
    assert isinstance(rate, float)
    return 0.9 - 0.1 * abs(math.log10(rate) + 1) - 0.2 * (settings["rule"] != "b")


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_suggestion_lies_in_its_space(searcher: str) -> None:
    scores: list[float] = []
    while len(scores) < 14:
        found = suggestions(searcher, SPACE, 14, 3, scores)
        assert all(set(one) == set(SPACE) for one in found)
        assert all(SPACE[key].holds(value) for one in found for key, value in one.items())
        assert all(isinstance(one["depth"], int) for one in found)
        scores += [quality(one) for one in found[len(scores) :]]
    assert len(found) == 14


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_search_is_replayed_to_the_same_suggestions(searcher: str) -> None:
    def trace(steps: Sequence[int]) -> list[dict[str, object]]:
        """The search, with scores that become known in pieces."""
        scores: list[float] = []
        for known in steps:
            while len(scores) < known:
                found = suggestions(searcher, SPACE, 16, 7, scores)
                scores += [quality(one) for one in found[len(scores) : known]]
        return suggestions(searcher, SPACE, 16, 7, scores)

    assert trace([16]) == trace([3, 9, 11, 16])


def test_rows_that_share_a_knob_try_the_same_values_of_it() -> None:
    shared = {"rate": SPACE["rate"]}
    alone = suggestions("random", shared, 6, 5, [])
    beside = suggestions("random", SPACE, 6, 5, [])
    assert [one["rate"] for one in alone] == [one["rate"] for one in beside]
    assert alone != suggestions("random", shared, 6, 6, []), "another round draws anew"


def test_the_estimator_learns() -> None:
    """After the random ones its trials are better than they are, on the mean of three searches."""
    gains = []
    for seed in range(3):
        scores: list[float] = []
        while len(scores) < 25:
            found = suggestions("optuna", SPACE, 25, seed, scores)
            scores += [quality(one) for one in found[len(scores) :]]
        gains.append(sum(scores[10:]) / 15 - sum(scores[:10]) / 10)
    assert sum(gains) / 3 > 0.03, "a tenth of the spread of the random ones"


def test_a_grid_has_the_budget_and_both_ends() -> None:
    two: dict[str, Space] = {"rate": SPACE["rate"], "rule": SPACE["rule"]}
    found = suggestions("grid", two, 9, 0, [])
    assert len(found) == 9
    assert {one["rate"] for one in found} == {0.001, 1.0, float(f"{0.001**0.5:.4g}")}
    assert len(suggestions("grid", two, 7, 0, [])) == 7, "points are left out, none is added"
    few: dict[str, Space] = {"rule": SPACE["rule"]}
    assert lattice(few, 20) == [{"rule": rule} for rule in "abc"], "there are no more"


def test_draws_fill_a_logarithmic_range_evenly() -> None:
    random, space = Random(0), Range(1e-4, 1.0, log=True)
    logs = [math.log10(space.draw(random)) for _ in range(4000)]
    share = sum(value < -2 for value in logs) / 4000
    assert abs(share - 0.5) < 0.04, "five standard deviations of a share of 4000"


def test_multiples_are_of_the_rows_own_value() -> None:
    assert read_space({"times": [0.1, 10]}, 0.02, ()) == Range(0.002, 0.2, log=True)
    assert read_space({"times": [0.1, 10]}, 0.0, ()) == Choices((0.0,)), "nothing to search"


def test_rungs_grow_by_the_reduction_and_end_with_training() -> None:
    assert rungs(27, 1, 3) == [1, 3, 9, 27]
    assert rungs(20, 2, 3) == [2, 6, 18, 20]
    assert rungs(3, 5, 3) == [3], "no rung before the grace period"
    assert rungs(0, 1, 3) == [0], "what is not trained has one"


def test_the_rule_is_ray_tunes() -> None:
    """Fed in one order, Ray's scheduler stops the same trials at the same rungs."""
    schedulers = pytest.importorskip("ray.tune.schedulers")
    trial = pytest.importorskip("ray.tune.experiment").Trial

    class Fake:
        def __init__(self, number: int) -> None:
            self.trial_id, self.status = str(number), trial.RUNNING

    random = Random(2)
    curves = [[random.random() for _ in range(3)] for _ in range(40)]
    ray = schedulers.AsyncHyperBandScheduler(
        metric="score", mode="max", time_attr="epoch", max_t=27, grace_period=3, reduction_factor=3,
    )  # fmt: skip
    levels, mine, theirs = rungs(27, 3, 3), [], []
    before: list[Walk] = []
    for number, curve in enumerate(curves):
        one = walk(curve, before, 3)
        before.append(one)
        mine.append(len(one.scores))
        fake, reached = Fake(number), 0
        ray.on_trial_add(None, fake)
        for epoch, score in zip(levels, curve, strict=True):
            reached += 1
            told = {"epoch": epoch, "score": score}
            if ray.on_trial_result(None, fake, told) == schedulers.TrialScheduler.STOP:
                break
        theirs.append(reached)
    assert mine == theirs
    assert {1, 2, 3} == set(mine), "some end at each rung"


def known_later(curves: list[list[float]], order: Callable[[], int]) -> list[list[int]]:
    """Every state of a search whose trials end in some order: how far each setting is known."""
    known = [0] * len(curves)
    states = []
    while True:
        walks: list[Walk] = []
        for curve, count in zip(curves, known, strict=True):
            reached = [*curve[:count], *[None] * (len(curve) - count)]
            walks.append(walk(reached, walks, 3))
        states.append([len(one.scores) for one in walks])
        open_ones = [i for i, one in enumerate(walks) if one.scores[-1] is None]
        if not open_ones:
            assert all(one.ended for one in walks), "nothing runs, and nothing is open"
            states.append([choice(walks) or 0])
            return states
        known[open_ones[order() % len(open_ones)]] += 1


def test_the_order_in_which_trials_end_changes_no_choice() -> None:
    random = Random(4)
    curves = [[random.random() for _ in range(4)] for _ in range(15)]
    ends = {str(known_later(curves, lambda: random.randrange(99))[-2:]) for _ in range(30)}
    assert len(ends) == 1


def test_failures_are_spent_budget_and_never_chosen_over_a_result() -> None:
    failed = Walk((FAILED,), ended=True, whole=True)
    stopped = Walk((0.4,), ended=True, whole=False)
    whole = Walk((0.3, 0.35), ended=True, whole=True)
    assert choice([failed, stopped, whole]) == 2, "what ran to the end comes first"
    assert choice([failed, stopped]) == 1
    assert choice([failed, failed]) == 0, "the row's own values"
    assert choice([whole, Walk((None,), ended=False, whole=True)]) is None
    assert choice([whole, whole]) == 0, "the first of equals"


def test_a_first_trial_goes_on_and_a_worse_one_stops() -> None:
    assert goes_on(0.1, [], 3)
    assert goes_on(0.5, [0.4, 0.5, 0.3], 3)
    assert not goes_on(0.4, [0.5, 0.6, 0.3], 3)
