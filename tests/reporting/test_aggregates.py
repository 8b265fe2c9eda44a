"""Aggregates against scipy, hand-computed shares, and what their bootstrap must keep."""

import math

import numpy as np
import pytest
from scipy import stats

from qbench.reporting.aggregates import improvement, interquartile_mean, profile, resampled

RANDOM = np.random.default_rng(0)


def test_the_interquartile_mean_is_that_of_scipy() -> None:
    scores = [RANDOM.normal(size=4) for _ in range(3)]  # 12 runs: a quarter is a whole number
    found = interquartile_mean(scores, resampled(scores, 0))
    assert found.value == pytest.approx(stats.trim_mean(np.concatenate(scores), 0.25))
    assert found.low < found.value < found.high


def test_blocks_weigh_the_same_whatever_their_seeds() -> None:
    few, many = np.full(3, 10.0), np.full(9, 20.0)
    scores = [few, many, many]
    weights = resampled(scores, 0)
    # A third of the weight is at 10; of the middle half, a sixth: (1/3 - 1/4) / (1/2).
    assert interquartile_mean(scores, weights).value == pytest.approx(10 / 6 + 20 * 5 / 6)
    assert profile(scores, weights, np.array([15.0])).value.tolist() == pytest.approx([2 / 3])


def test_equal_scores_have_an_interval_without_width() -> None:
    scores = [np.full(3, 97.3)] * 4
    found = interquartile_mean(scores, resampled(scores, 0))
    assert found.low == pytest.approx(found.value, rel=1e-12) == found.high


def test_two_seeds_give_values_without_interval() -> None:
    scores = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0])]
    weights = resampled(scores, 0)
    assert weights.shape == (1, 5)
    assert not interquartile_mean(scores, weights).has_interval
    assert not improvement(scores, weights, scores, weights).has_interval
    assert math.isnan(profile(scores, weights, np.array([1.5])).low[0])


def test_one_seed_is_enough_for_a_value() -> None:
    scores = [np.array([1.0]), np.array([3.0])]
    assert interquartile_mean(scores, resampled(scores, 0)).value == pytest.approx(2.0)


def test_draws_stay_in_their_block_and_repeat() -> None:
    scores = [RANDOM.normal(size=n) for n in (3, 5, 10)]
    weights = resampled(scores, 7)
    for part in (slice(0, 3), slice(3, 8), slice(8, 18)):
        assert weights[:, part].sum(axis=1) == pytest.approx(1 / 3)  # three blocks weigh the same
    assert np.array_equal(weights, resampled(scores, 7))
    assert not np.array_equal(weights, resampled(scores, 8))


def test_the_variance_of_a_mean_is_unbiased() -> None:
    values = np.array([1.0, 2.0, 4.0])
    draws = resampled([values], 0)[1:] @ values
    # s² / n; drawing all three would give 2/3 of it. A variance of 2,000 draws errs by 3 %.
    assert draws.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.12)


def test_the_profile_is_a_share_of_runs() -> None:
    scores = [np.array([1.0, 2.0, 3.0, 4.0])]
    found = profile(scores, resampled(scores, 0), np.array([0.0, 2.0, 2.5, 5.0]))
    assert found.value.tolist() == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert np.all(found.low <= found.value + 1e-12)
    assert np.all(found.value <= found.high + 1e-12)


def test_improvement_counts_pairs_inside_blocks() -> None:
    first = [np.array([1.0, 3.0]), np.array([10.0, 10.0])]
    second = [np.array([2.0, 3.0, 3.0]), np.array([10.0, 9.0, 11.0])]
    found = improvement(first, resampled(first, 0), second, resampled(second, 1))
    # Of 6 pairs: 1 won and 2 equal in the first block, 2 won and 2 equal in the second.
    assert found.value == pytest.approx((2 / 6 + 3 / 6) / 2)
    back = improvement(second, resampled(second, 1), first, resampled(first, 0))
    assert back.value == pytest.approx(1 - found.value)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_the_interquartile_mean_covers(seeds: int) -> None:
    random = np.random.default_rng(0)
    truths = random.normal(90, 5, 9)
    wide = [truth + random.normal(size=20_000) for truth in truths]
    truth = interquartile_mean(wide, np.full((1, 9 * 20_000), 1 / (9 * 20_000))).value
    inside = 0
    for _ in range(1000):
        scores = [truth_of_block + random.normal(size=seeds) for truth_of_block in truths]
        found = interquartile_mean(scores, resampled(scores, 0))
        inside += found.low <= truth <= found.high
    # Percentiles of few seeds are a little narrow: 92 to 95 %; 4 standard errors are 3 %. With
    # three seeds, drawing all of them would cover 86 %.
    assert 0.89 <= inside / 1000 <= 0.98
