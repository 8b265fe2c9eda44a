"""One search: which trials it consists of, as far as scores are known, and what it chose."""

from collections.abc import Sequence
from dataclasses import dataclass

from qbench.tuning.halving import goes_on

__all__ = ["FAILED", "Walk", "choice", "walk"]

FAILED = -1.0
"""The score of a trial that has no result: below every accuracy."""


@dataclass(frozen=True)
class Walk:
    """How far one setting of a search got."""

    scores: tuple[float | None, ...]
    """At each rung that it came to; the last one is ``None`` while its trial is not done."""
    ended: bool
    """Whether nothing of it is left to be run or to be decided."""
    whole: bool
    """Whether it came to the last rung."""

    @property
    def score(self) -> float | None:
        """The last score, once the setting has ended."""
        return self.scores[-1] if self.ended else None


def walk(reached: Sequence[float | None], before: Sequence[Walk], reduction: int) -> Walk:
    """Follow one setting from rung to rung.

    Args:
        reached: The setting's score at each rung, ``None`` where it is not known; the last rung is
            the end of training.
        before: The settings before it in the search.
        reduction: See :func:`qbench.tuning.halving.goes_on`.
    """
    last = len(reached) - 1
    for rung, score in enumerate(reached):
        so_far = tuple(reached[: rung + 1])
        if score is None or rung == last:
            return Walk(so_far, score is not None, rung == last)
        if score == FAILED:
            return Walk(so_far, ended=True, whole=False)
        if not all(_known(one, rung) for one in before):
            return Walk(so_far, ended=False, whole=False)
        others = [one.scores[rung] for one in before if len(one.scores) > rung]
        if not goes_on(score, [other for other in others if other is not None], reduction):
            return Walk(so_far, ended=True, whole=False)
    raise ValueError("a search has one rung or more")


def _known(one: Walk, rung: int) -> bool:
    """Whether it is known what a setting scored at a rung, or that it never came there."""
    return one.ended or (len(one.scores) > rung and one.scores[rung] is not None)


def choice(walks: Sequence[Walk]) -> int | None:
    """The best setting of a search, the first of equals; none before all of them have ended."""
    if not all(one.ended for one in walks):
        return None

    def rank(number: int) -> tuple[bool, bool, float]:
        one = walks[number]
        score = FAILED if one.score is None else one.score
        return score != FAILED, one.whole, score

    return max(range(len(walks)), key=rank)
