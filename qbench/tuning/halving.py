"""Asynchronous successive halving, with trials compared in the order of their numbers.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, arXiv:1810.05934, in
the form that Ray Tune runs: a trial that comes to a rung goes on if it is not below the best
1/reduction of those that came before. Ray compares them in the order in which they arrive, which
depends on the machine; here trial ``i`` is compared with the trials before it in its search, so
that a search that was cut off comes to the same choice.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["goes_on", "rungs"]


def rungs(epochs: int, grace: int, reduction: int) -> list[int]:
    """The epochs at which trials are compared, and the last one.

    Args:
        epochs: Of a whole trial.
        grace: The first rung.
        reduction: The ratio of two rungs.
    """
    count = max(math.ceil(math.log(epochs / grace, reduction)), 0) if grace < epochs else 0
    found = [grace * reduction**k for k in range(count)]
    return [rung for rung in found if rung < epochs] + [epochs]


def goes_on(score: float, before: Sequence[float], reduction: int) -> bool:
    """Whether a trial passes a rung.

    Args:
        score: Its own, higher is better.
        before: Scores at this rung of the trials before it; without any it goes on.
        reduction: One in so many goes on.
    """
    return not before or score >= float(np.percentile(before, (1 - 1 / reduction) * 100))
