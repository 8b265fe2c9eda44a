"""Simulated studies in which no row is better: how often a report claims that one is.

Accuracies are normal: a seed moves every row alike, and each run by itself. Bounds are the nominal
rate plus what so many draws may exceed it by, once in a thousand tests.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_comparison import compared
from synthetic_results import make_plan

from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.ranking import Ranking
from qbench.reporting.ranks import SIGNIFICANT
from qbench.reporting.statistics import estimate, paired_difference
from qbench.study.expand import expand
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Study

SHARED, OWN = 0.01, 0.003
"""Standard deviations of a seed's effect on all rows, and of a run, as shares of test images."""
NOMINAL = 0.05


def most(studies: int) -> float:
    """The largest share of false claims that a nominal rate leaves once in a thousand tests."""
    return float(stats.binom.ppf(0.999, studies, NOMINAL)) / studies


def rows(count: int) -> list[str]:
    return [f"row{number}" for number in range(count)]


def null_study(plan: Plan, random: np.random.Generator, worse: int = 0) -> Comparison:
    """Equal rows, but for the last ``worse`` of them, which are far behind."""
    seeds: dict[object, float] = {}
    behind = set(rows(len(plan.study.quantizers))[-worse:] if worse else ())

    def outcome(cell: Cell) -> float:
        trial = cell.trial
        place = (trial.model.label, trial.data.label, str(trial.bits), trial.seed)
        if place not in seeds:
            seeds[place] = random.normal(0.0, SHARED)
        return 0.8 + seeds[place] + random.normal(0.0, OWN) - 0.3 * (cell.label in behind)

    return compared(plan, outcome)


def marked_in(count: int, seeds: int, studies: int, worse: int = 0) -> tuple[float, float]:
    """Shares of one-setting studies with a sole bold row, and with an equal row that is not."""
    random = np.random.default_rng([count, seeds, worse])
    plan = make_plan(rows(count), seeds=range(seeds))
    found = []
    for _ in range(studies):
        (setting,) = (comparison := null_study(plan, random, worse)).settings
        found.append(len(comparison.marked(setting)))
    sizes = np.array(found)
    return float((sizes == 1).mean()), float((sizes < count - worse).mean())


def null_ranking(random: np.random.Generator, count: int, blocks: int, seeds: int) -> Ranking:
    """What a study of equal rows ranks, without its trials."""
    places = [Setting(f"model{number}", "data", "W4A32") for number in range(blocks)]
    labels = rows(count)
    values = 80 + 100 * random.normal(0, SHARED, (1, blocks, seeds))
    values = values + 100 * random.normal(0, OWN, (count, blocks, seeds))
    accuracy = {
        (label, block): dict(enumerate(values[row, place].tolist()))
        for row, label in enumerate(labels)
        for place, block in enumerate(places)
    }
    return Ranking(tuple(labels), tuple(places), labels[0], accuracy, dict.fromkeys(places, {}))


def claims(ranking: Ranking, *, all_pairs: bool = False) -> bool:
    pairs = ranking.all_pairs if all_pairs else ranking.versus_baseline
    return any(pair.adjusted < SIGNIFICANT for pair in pairs)


@pytest.mark.parametrize("count", [2, 4])
def test_a_ranking_of_equal_rows_claims_rarely(count: int) -> None:
    random = np.random.default_rng(count)
    rankings = (null_ranking(random, count, 8, 3) for _ in range(150))
    assert np.mean([claims(found) for found in rankings]) <= most(150)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [2, 4, 8, 12])
def test_rankings_of_equal_rows_claim_at_most_as_often_as_they_say(count: int, seeds: int) -> None:
    studies = 1000
    random = np.random.default_rng([count, seeds])
    rankings = (null_ranking(random, count, 12, seeds) for _ in range(studies))
    assert np.mean([claims(found) for found in rankings]) <= most(studies)


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8])
def test_all_pairs_of_equal_rows_claim_at_most_as_often_as_they_say(count: int) -> None:
    studies = 300  # eight rows have 28 pairs
    random = np.random.default_rng(count)
    rankings = (null_ranking(random, count, 14, 3) for _ in range(studies))
    assert np.mean([claims(found, all_pairs=True) for found in rankings]) <= most(studies)


@pytest.mark.parametrize("count", [2, 4])
def test_a_setting_of_equal_rows_has_rarely_one_bold_row(count: int) -> None:
    assert marked_in(count, 3, 150)[0] <= most(150)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [2, 4, 8, 12])
def test_a_sole_bold_row_is_false_at_most_as_often_as_it_says(count: int, seeds: int) -> None:
    assert marked_in(count, seeds, 1000)[0] <= most(1000)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_sole_bold_row_is_rarely_one_of_two_best(seeds: int) -> None:
    """The hardest case: of many rows two are best, and only they can be mistaken."""
    assert marked_in(6, seeds, 1000, worse=4)[0] <= most(1000)


def same_method_twice(seeds: int, studies: int) -> tuple[float, float]:
    """One method under two names, with other seeds: how often a report tells them apart.

    Returns:
        The shares of studies in which the difference to the baseline is bold, and in which one of
        the two is the sole bold row.
    """
    again = {"name": "ste", "label": "ste, again", "seed_offset": 1000}
    settings = {
        "study": "twice", "question": "Is a method better than itself?",
        "quantizers": ["ste", again], "models": ["mlp"], "data": {"sets": ["digits"]},
        "bits": ["W4A32"], "seeds": list(range(seeds)),
    }  # fmt: skip
    plan = expand(Study.model_validate(settings))
    random = np.random.default_rng([11, seeds])
    differs, alone = [], []
    for _ in range(studies):
        comparison = null_study(plan, random)
        (setting,) = comparison.settings
        differs.append(
            comparison.minus_baseline(comparison.groups["ste, again", setting]).excludes_zero
        )
        alone.append(len(comparison.marked(setting)) == 1)
    return float(np.mean(differs)), float(np.mean(alone))


def test_a_method_is_rarely_better_than_itself() -> None:
    assert max(same_method_twice(3, 150)) <= most(150)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_method_is_better_than_itself_at_most_as_often_as_is_said(seeds: int) -> None:
    differs, alone = same_method_twice(seeds, 1000)
    assert differs <= most(1000)
    assert alone <= most(1000)
    assert differs > 0  # the test could not fail if nothing ever were called different


def best_is_left_out(count: int, seeds: int, studies: int) -> float:
    """The share of studies in which the first of equal rows, as good as any, is not bold."""
    random = np.random.default_rng([7, count, seeds])
    plan = make_plan(rows(count), seeds=range(seeds))
    out = 0
    for _ in range(studies):
        (setting,) = (comparison := null_study(plan, random)).settings
        out += all(group.label != "row0" for group in comparison.marked(setting))
    return out / studies


def test_the_best_of_many_rows_is_bold() -> None:
    assert best_is_left_out(8, 3, 100) <= most(100)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [2, 4, 8, 12])
def test_the_best_row_is_bold_as_often_as_is_said(count: int, seeds: int) -> None:
    assert best_is_left_out(count, seeds, 1000) <= most(1000)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_a_mean_cover(seeds: int) -> None:
    samples = np.random.default_rng(seeds).normal(1.0, 1.0, (5000, seeds)).tolist()
    inside = np.mean([f.low <= 1.0 <= f.high for f in map(estimate, samples)])
    assert 0.93 <= inside <= 0.97  # 6 standard errors of a share of 0.95 in 5,000 draws


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_a_paired_difference_cover(seeds: int) -> None:
    """Though the seeds' own effect is three times the spread of a run."""
    random = np.random.default_rng(seeds)
    inside = []
    for _ in range(2000):
        shared = random.normal(0, SHARED, seeds)
        first, second = (pd.Series(shared + random.normal(0, OWN, seeds)) for _ in range(2))
        found = paired_difference(first + 0.01, second)
        inside.append(found.low <= 0.01 <= found.high)
    assert 0.93 <= np.mean(inside) <= 0.97  # 4 standard errors of a share of 0.95 in 2,000 draws
