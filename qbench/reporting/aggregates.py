"""Scores over blocks and seeds in one number: interquartile mean, profile, improvement.

The formulas are those of Agarwal et al. (2021), "Deep reinforcement learning at the edge of the
statistical precipice". Every block weighs the same, however many seeds it has. Their bootstrap
draws ``n`` of a block's ``n`` runs; with 3 seeds an interval that is called 95 % then covers 86 %.
Drawing ``n - 1`` (Rao and Wu, 1988) gives means their true variance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qbench.reporting.statistics import LEVEL, MINIMUM_SEEDS

__all__ = [
    "DRAWS", "Aggregate", "Profile", "improvement", "interquartile_mean", "profile", "resampled",
]  # fmt: skip

Values = npt.NDArray[np.float64]
Scores = Sequence[Values]
"""The scores of one row: an array of its seeds for each block."""

DRAWS = 2000
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


class Aggregate(NamedTuple):
    """A number with its bootstrap interval over seeds; the bounds are not numbers with few."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether every block has seeds enough."""
        return not math.isnan(self.low)


class Profile(NamedTuple):
    """The share of runs that reach each score, with pointwise bounds."""

    value: Values
    low: Values
    """Not numbers where a block has too few seeds."""
    high: Values


def resampled(scores: Scores, stream: int) -> Values:
    """What each score weighs: first as it is, then in every draw, ``[1 + draws, scores]``.

    Only the first where a block has too few seeds for an interval.

    Args:
        scores: One row's, block by block.
        stream: A number of its own for each row, whose seeds are drawn apart from other rows'.
    """
    random = np.random.default_rng([0, stream])
    draws = DRAWS if min(len(own) for own in scores) >= MINIMUM_SEEDS else 0
    parts = []
    for own in scores:
        n = len(own)
        counts = random.multinomial(n - 1, [1 / n] * n, draws) if draws else np.empty((0, n))
        parts.append(np.vstack([np.full(n, 1 / n), counts / max(n - 1, 1)]))
    weights: Values = np.hstack(parts) / len(scores)
    return weights


def _bounded(found: Values) -> Aggregate:
    low, high = np.quantile(found[1:], TAILS) if len(found) > 1 else (math.nan, math.nan)
    return Aggregate(float(found[0]), float(low), float(high))


def interquartile_mean(scores: Scores, weights: Values) -> Aggregate:
    """The mean of the middle half of all runs; a run on the edge counts with its part inside."""
    values = np.concatenate(scores)
    order = np.argsort(values, kind="stable")
    reached = np.clip(np.cumsum(weights[:, order], axis=1), 0.25, 0.75)
    inside = np.diff(reached, axis=1, prepend=0.25)
    # Divided by what rounding left inside, so that equal scores give that score.
    return _bounded(inside @ values[order] / inside.sum(axis=1))


def profile(scores: Scores, weights: Values, grid: Values) -> Profile:
    """The share of runs with a score of at least each of ``grid``."""
    found = weights @ (np.concatenate(scores)[:, None] >= grid[None, :])
    if len(found) == 1:
        nothing = np.full(len(grid), math.nan)
        return Profile(found[0], nothing, nothing)
    low, high = np.quantile(found[1:], TAILS, axis=0)
    return Profile(found[0], low, high)


def improvement(
    scores: Scores, weights: Values, others: Scores, other_weights: Values
) -> Aggregate:
    """The probability that a run beats another row's of the same block; equal scores count half.

    Args:
        scores: The row's.
        weights: From ``resampled``.
        others: The other row's, of the same blocks.
        other_weights: From ``resampled``, with another stream.
    """
    length = min(len(weights), len(other_weights))
    found = np.zeros(length)
    first = second = 0
    for own, other in zip(scores, others, strict=True):
        wins = (own[:, None] > other[None, :]) + 0.5 * (own[:, None] == other[None, :])
        mine = weights[:length, first : first + len(own)]
        theirs = other_weights[:length, second : second + len(other)]
        found += ((mine @ wins) * theirs).sum(axis=1)
        first, second = first + len(own), second + len(other)
    return _bounded(found * len(scores))  # both weights hold the share of a block
