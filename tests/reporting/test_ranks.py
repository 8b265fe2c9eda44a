"""Rank tests against numbers of the literature, scikit-posthocs and enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from qbench.reporting.ranks import (
    average_ranks,
    cliques,
    friedman,
    holm,
    signed_rank,
    smallest_adjusted_p,
)  # fmt: skip

DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip
"""Table 6 of Demšar (2006): four learners on fourteen data sets, with ties. The paper prints 0.975
twice in one line but ranks them 2 and 3, so the first has a digit more here."""


def test_average_ranks_of_a_published_table() -> None:
    # Printed below Demšar's table.
    assert average_ranks(DEMSAR).tolist() == pytest.approx([3.143, 2.0, 2.893, 1.964], abs=5e-4)


def test_friedman_of_a_published_table() -> None:
    found = friedman(DEMSAR)
    assert found is not None
    ties = sum(
        int(n**3 - n) for row in DEMSAR for n in np.unique(row, return_counts=True)[1].tolist()
    )
    correction = 1 - ties / (14 * (4**3 - 4))
    # Demšar prints 9.28 from the average ranks, without the correction for ties.
    assert found.statistic * correction == pytest.approx(9.28, abs=0.01)
    assert found.p == pytest.approx(stats.chi2.sf(9.28 / correction, 3), rel=0.01)
    assert found.smallest_p == pytest.approx(stats.chi2.sf(14 * 3, 3))  # N (k - 1) where all agree


def test_friedman_of_equal_rows_says_nothing_and_of_two_rows_is_none() -> None:
    found = friedman(np.ones((4, 3)))
    assert found is not None
    assert (found.statistic, found.p) == (0.0, 1.0)
    assert friedman(np.ones((4, 2))) is None


@pytest.mark.parametrize("seed", range(3))
def test_all_pairs_are_those_of_scikit_posthocs(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(11, 5)) + 0.6 * np.arange(5)
    pairs = list(itertools.combinations(range(5), 2))
    own = holm([signed_rank(scores[:, i] - scores[:, j]).p for i, j in pairs])
    long = pd.DataFrame(scores).melt(var_name="row", value_name="score")
    oracle = scikit_posthocs.posthoc_wilcoxon(
        long, val_col="score", group_col="row", method="exact", p_adjust="holm"
    )
    # Differences are compared in nine decimals; none of these tie there.
    assert own == pytest.approx([oracle.loc[i, j] for i, j in pairs], rel=1e-12)


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, 12).round(2).tolist()  # with ties
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([]) == []


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 1.0, 1.0, -1.0, 2.0],  # ties
        [0.5, -0.5, 0.5, 0.0, 0.0, 1.5, 2.0],  # ties and zeros
        [0.1 + 0.2, 0.3, -1.0, 2.0],  # a tie but for rounding
        [3.0, 3.0, 3.0, 3.0, 3.0, 3.0],
    ],
)
def test_ties_are_exact_over_all_signs(differences: list[float]) -> None:
    kept = np.array([round(d, 9) for d in differences if d])
    ranks = stats.rankdata(np.abs(kept))
    observed = ranks[kept > 0].sum()
    sums = np.array([
        (ranks * np.array(signs)).sum() for signs in itertools.product((0, 1), repeat=len(kept))
    ])  # fmt: skip
    expected = min(1.0, 2 * min((sums <= observed).mean(), (sums >= observed).mean()))
    found = signed_rank(np.array(differences))
    assert found.n == len(kept)
    assert found.p == pytest.approx(expected, abs=1e-12)
    assert found.effect == pytest.approx(2 * observed / ranks.sum() - 1)


def test_a_tie_in_every_block_is_a_tie() -> None:
    assert signed_rank(np.full(9, 1e-12)) == (0, 1.0, 0.0)  # behind the decimals that count


def test_a_win_in_every_block_has_the_whole_effect_and_the_smallest_p() -> None:
    found = signed_rank(np.arange(1.0, 10.0))
    assert (found.n, found.effect) == (9, 1.0)
    assert found.p == smallest_adjusted_p(9, 1) == 2 / 2**9  # one of all signs, and its mirror


@pytest.mark.parametrize(
    ("rows", "all_pairs", "versus_one"),
    [(3, 7, 7), (4, 8, 7), (5, 9, 8), (6, 10, 8), (8, 11, 9), (10, 11, 9), (12, 12, 9)],
)
def test_the_fewest_blocks_that_can_say_anything(
    rows: int, all_pairs: int, versus_one: int
) -> None:
    """Computed once by brute force; printed among the project's statistical facts."""
    for comparisons, expected in ((math.comb(rows, 2), all_pairs), (rows - 1, versus_one)):
        # One row ahead in every block is as clear as data can be.
        p = [signed_rank(np.arange(1.0, n + 1)).p for n in range(2, 15)]
        reached = [holm([one] + [1.0] * (comparisons - 1))[0] < 0.05 for one in p]
        assert 2 + reached.index(True) == expected
        attainable = [smallest_adjusted_p(n, comparisons) < 0.05 for n in range(2, 15)]
        assert attainable == reached


def test_cliques_hold_no_pair_that_differs() -> None:
    order = ["a", "b", "c", "d", "e"]
    apart = {frozenset(pair) for pair in ("ac", "ad", "ae", "bd", "be", "ce", "de")}
    adjusted = {
        frozenset(pair): 0.01 if frozenset(pair) in apart else 0.2
        for pair in itertools.combinations(order, 2)
    }
    assert cliques(order, adjusted) == [(0, 1), (1, 2), (2, 3)]
    assert cliques(order, dict.fromkeys(adjusted, 1.0)) == [(0, 4)]
    assert cliques(order, dict.fromkeys(adjusted, 0.01)) == []
