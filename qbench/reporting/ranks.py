"""Rank tests over blocks: Friedman's, the exact signed-rank test, Holm's correction, cliques.

A block is one setting with its seeds averaged. scipy's tests are imported where they are called:
that takes a second, and a report of one setting needs none of them.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "DIGITS", "SIGNIFICANT", "Friedman", "SignedRank",
    "average_ranks", "cliques", "friedman", "holm", "signed_rank", "smallest_adjusted_p",
]  # fmt: skip

Values = npt.NDArray[np.float64]

SIGNIFICANT = 0.05
"""An adjusted p below it is called a difference."""
DIGITS = 9
"""Decimals of a percentage that count: means of equal accuracies differ behind them."""


class Friedman(NamedTuple):
    """Friedman's test that all rows are alike, with the correction for ties."""

    statistic: float
    """Chi-square with one degree of freedom fewer than rows."""
    p: float
    smallest_p: float
    """That of blocks which all agree."""


class SignedRank(NamedTuple):
    """Wilcoxon's signed-rank test of differences in blocks."""

    n: int
    """Blocks with a difference; those without are left out."""
    p: float
    """Two-sided, from the exact distribution; 1 where no block differs."""
    effect: float
    """Matched-pairs rank-biserial correlation: from -1 to 1, 0 without a difference."""


def smallest_adjusted_p(blocks: int, comparisons: int) -> float:
    """The smallest p that a pair can reach after Holm: every block says the same, none ties."""
    return min(1.0, comparisons * 2.0 ** (1 - blocks))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    count = len(p_values)
    adjusted, largest = [0.0] * count, 0.0
    for step, index in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (count - step) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def average_ranks(scores: Values) -> Values:
    """The mean over blocks of each row's rank, 1 for the highest; ties share their ranks.

    Args:
        scores: ``[blocks, rows]``.
    """
    from scipy.stats import rankdata

    ranks: Values = rankdata(-np.round(scores, DIGITS), axis=1).mean(axis=0)
    return ranks


def friedman(scores: Values) -> Friedman | None:
    """The test over ``[blocks, rows]``; nothing with fewer than three rows, which it is not for."""
    from scipy.stats import chi2, friedmanchisquare

    blocks, rows = scores.shape
    if rows < 3:
        return None
    rounded = np.round(scores, DIGITS)
    smallest = float(chi2.sf(blocks * (rows - 1), rows - 1))
    if np.all(rounded == rounded[:, :1]):  # scipy divides by the spread of the ranks
        return Friedman(0.0, 1.0, smallest)
    found = friedmanchisquare(*rounded.T)
    return Friedman(float(found.statistic), float(found.pvalue), smallest)


def signed_rank(differences: Values) -> SignedRank:
    """The test of ``[blocks]`` differences; zeros are left out, ties share their ranks."""
    from scipy.stats import rankdata, wilcoxon

    kept = np.round(differences, DIGITS)
    kept = kept[kept != 0]
    if not len(kept):
        return SignedRank(0, 1.0, 0.0)
    ranks = rankdata(np.abs(kept))
    above, total = float(ranks[kept > 0].sum()), float(ranks.sum())
    if len(np.unique(ranks)) == len(kept):
        p = float(wilcoxon(kept, method="exact").pvalue)
    else:
        p = _exact_with_ties(ranks, above)
    return SignedRank(len(kept), p, 2 * above / total - 1)


def _exact_with_ties(ranks: Values, above: float) -> float:
    """Two-sided p over all signs of these ranks; scipy's exact distribution is that of no ties."""
    doubled = np.rint(2 * ranks).astype(int)  # shared ranks are halves
    share = np.zeros(doubled.sum() + 1)
    share[0] = 1.0
    for rank in doubled:
        share = 0.5 * share
        share[rank:] = share[rank:] + share[:-rank]
    place = round(2 * above)
    return min(1.0, 2 * float(min(share[: place + 1].sum(), share[place:].sum())))


def cliques(
    order: Sequence[str], adjusted: Mapping[frozenset[str], float]
) -> list[tuple[int, int]]:
    """The maximal groups of consecutive rows of which no pair differs, as first and last place.

    Args:
        order: The rows, by average rank.
        adjusted: The adjusted p of every pair of them.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not _differ(order[first : last + 2], adjusted):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _differ(rows: Sequence[str], adjusted: Mapping[frozenset[str], float]) -> bool:
    return any(adjusted[frozenset(pair)] < SIGNIFICANT for pair in combinations(rows, 2))
