"""Intervals against hand-computed numbers, scipy, and their promised coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qbench.reporting.statistics import estimate, paired_difference


def test_three_values_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)
    # t(0.975, 2 degrees) = 4.302653; divided by sqrt(3)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


def test_two_values_by_hand_have_no_printed_interval() -> None:
    found = estimate([0.0, 2.0])
    assert found.deviation == pytest.approx(math.sqrt(2))
    assert found.half_width == pytest.approx(12.706205, abs=1e-6)  # t(0.975, 1) * sqrt(2)/sqrt(2)
    assert not found.has_interval
    assert not found.excludes_zero


@pytest.mark.parametrize(("values", "n"), [([], 0), ([5.0], 1)])
def test_too_few_values_claim_nothing(values: list[float], n: int) -> None:
    found = estimate(values)
    assert found.n == n
    assert math.isnan(found.half_width)
    assert not found.excludes_zero


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=12))
def test_interval_is_that_of_scipy(values: list[float]) -> None:
    found = estimate(values)
    if found.deviation < 1e-6:  # scipy divides by it
        return
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, rel=1e-9, abs=1e-9)  # float64 sums
    assert found.high == pytest.approx(expected.high, rel=1e-9, abs=1e-9)


def test_pairs_are_by_seed_whatever_the_order() -> None:
    first = pd.Series({0: 10.0, 1: 20.0, 2: 30.0, 3: 99.0})
    second = pd.Series({2: 27.0, 0: 9.0, 1: 18.0, 7: 1.0})
    found = paired_difference(first, second)
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)  # differences 1, 2, 3
    assert paired_difference(first, pd.Series(dtype=float)).n == 0


def test_pairing_finds_what_the_spread_of_seeds_hides() -> None:
    seeds = np.array([0.0, 10.0, -10.0, 5.0])
    better = pd.Series(seeds + [1.0, 1.1, 0.9, 1.0])
    assert paired_difference(better, pd.Series(seeds)).excludes_zero
    assert estimate(better.tolist()).half_width > 10  # alone, the seeds say nothing


def test_equal_results_are_a_tie() -> None:
    same = pd.Series({0: 0.3, 1: 0.7, 2: 0.1})
    assert not paired_difference(same, same).excludes_zero


@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_is_nominal(seeds: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 1.0, (2000, seeds))
    inside = np.mean([f.low <= 1.0 <= f.high for f in map(estimate, samples.tolist())])
    assert 0.93 <= inside <= 0.97  # 4 standard errors of a share of 0.95 in 2,000 draws
