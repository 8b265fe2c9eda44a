"""The rows of a study over its blocks: which enter, their mean scores, and how each compares.

A block is a setting (model, data, bits); its seeds are averaged before anything else. A run that
failed or was refused counts as an accuracy of 0, so a row without a result in a block for these
reasons ranks last there. What was not run leaves its row or its block out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qbench.reporting.aggregates import Scores
from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.ranks import DIGITS, SignedRank, average_ranks, holm, signed_rank
from qbench.reporting.statistics import estimate

__all__ = ["Pair", "Ranking", "Record", "Shares", "rank"]

MINIMUM = 2
"""Of rows, and of blocks."""
MOST_CHOICES = 4096
"""Sets of rows that are tried: all of 12 rows."""


class Record(NamedTuple):
    """In how many blocks a row is above another, equal, and below."""

    wins: int
    ties: int
    losses: int


class Pair(NamedTuple):
    """What is said of one row against another."""

    row: str
    other: str
    difference: float
    """Mean over blocks of the row's mean accuracy minus the other's, in points."""
    test: SignedRank
    adjusted: float
    """The test's p after Holm's correction over the pairs that were asked for."""


class Shares(NamedTuple):
    """The scores of the aggregates."""

    rows: Mapping[str, Scores]
    """In percent."""
    of_float: bool
    """Whether they are shares of the float network's accuracy, or else accuracies."""


@dataclass(frozen=True)
class Ranking:
    """Complete blocks: every row has a score in each."""

    labels: tuple[str, ...]
    """In the study's order."""
    blocks: tuple[Setting, ...]
    baseline: str
    """The study's, or the first row where that is none of these."""
    accuracy: Mapping[tuple[str, Setting], Mapping[int, float]]
    """Deployed test accuracy in percent by seed, with 0 for a run that failed or was refused."""
    floats: Mapping[Setting, Mapping[int, float]]
    """The same of the blocks' float networks."""
    left_rows: tuple[str, ...] = ()
    left_blocks: tuple[Setting, ...] = ()
    failed: tuple[tuple[str, Setting, int, int], ...] = ()
    """Row, block, how many runs failed or were refused, and how many count there."""

    @cached_property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean accuracy over seeds, ``[blocks, rows]``, in percent."""
        found = [
            [estimate(list(self.accuracy[label, block].values())).mean for label in self.labels]
            for block in self.blocks
        ]
        return np.round(np.array(found), DIGITS)

    @cached_property
    def average_ranks(self) -> dict[str, float]:
        """The average rank of each row, the best first."""
        found = dict(zip(self.labels, average_ranks(self.means).tolist(), strict=True))
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def _differences(self, row: str, other: str) -> npt.NDArray[np.float64]:
        first, second = self.labels.index(row), self.labels.index(other)
        found: npt.NDArray[np.float64] = self.means[:, first] - self.means[:, second]
        return np.round(found, DIGITS)

    def by_mean(self, row: str, other: str) -> Record:
        """Blocks in which the mean over seeds is higher, exactly equal, and lower."""
        signs = np.sign(self._differences(row, other)).tolist()
        return Record(signs.count(1), signs.count(0), signs.count(-1))

    def by_interval(self, row: str, other: str) -> Record | None:
        """Blocks whose t interval of the difference, paired by seed, is above, around, below 0.

        Blocks with too few common seeds are ties; nothing where all blocks are such.
        """
        signs = []
        found_interval = False
        for block in self.blocks:
            first, second = self.accuracy[row, block], self.accuracy[other, block]
            common = sorted(first.keys() & second.keys())
            found = estimate([round(first[seed] - second[seed], DIGITS) for seed in common])
            found_interval = found_interval or found.has_interval
            signs.append(int(np.sign(found.mean)) if found.excludes_zero else 0)
        record = Record(signs.count(1), signs.count(0), signs.count(-1))
        return record if found_interval else None

    @cached_property
    def versus_baseline(self) -> list[Pair]:
        """Every other row against the baseline, by average rank; corrected over these."""
        others = [label for label in self.average_ranks if label != self.baseline]
        return self._tested([(label, self.baseline) for label in others])

    @cached_property
    def all_pairs(self) -> list[Pair]:
        """Every pair of rows, the better ranked first; corrected over all of them."""
        return self._tested(list(combinations(self.average_ranks, 2)))

    def _tested(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        differences = [self._differences(row, other) for row, other in pairs]
        tests = [signed_rank(found) for found in differences]
        adjusted = holm([test.p for test in tests])
        return [
            Pair(row, other, float(found.mean()), test, p)
            for (row, other), found, test, p in zip(
                pairs, differences, tests, adjusted, strict=True
            )
        ]

    @cached_property
    def shares(self) -> Shares:
        """Each run as a share of the float network of its seed; accuracies where a block has none.

        Runs of a seed without a float network are left out.
        """
        rows = {
            label: [self._shares(self.accuracy[label, block], self.floats[block])
                    for block in self.blocks]
            for label in self.labels
        }  # fmt: skip
        if all(len(own) for scores in rows.values() for own in scores):
            return Shares(rows, of_float=True)
        whole = {
            label: [np.array(list(self.accuracy[label, block].values())) for block in self.blocks]
            for label in self.labels
        }
        return Shares(whole, of_float=False)

    @staticmethod
    def _shares(
        accuracy: Mapping[int, float], floats: Mapping[int, float]
    ) -> npt.NDArray[np.float64]:
        kept = [100 * accuracy[seed] / floats[seed] for seed in accuracy if floats.get(seed)]
        return np.round(np.array(kept), DIGITS)


def rank(comparison: Comparison) -> Ranking | None:
    """The ranking of a study's quantized rows; nothing with fewer than two rows or blocks."""
    labels = [label for label in comparison.labels if not comparison.is_float(label)]
    groups = {place: group for place, group in comparison.groups.items() if place[0] in labels}
    accuracy = {place: found for place, group in groups.items() if (found := _accuracy(group))}
    present = {
        setting: frozenset(label for label in labels if (label, setting) in accuracy)
        for setting in comparison.settings
        if any((label, setting) in groups for label in labels)
    }
    chosen = _complete(labels, present, comparison.baseline) or _complete(labels, present, None)
    if chosen is None:
        return None
    rows = tuple(label for label in labels if label in chosen)
    blocks = tuple(setting for setting, own in present.items() if chosen <= own)
    kept = {(label, block): accuracy[label, block] for block in blocks for label in rows}
    return Ranking(
        rows,
        blocks,
        next((label for label in rows if label == comparison.baseline), rows[0]),
        kept,
        {block: _floats(comparison, block) for block in blocks},
        tuple(label for label in labels if label not in rows),
        tuple(setting for setting in present if setting not in blocks),
        tuple(_failed(groups[place], len(found)) for place, found in kept.items()
              if _failures(groups[place])),
    )  # fmt: skip


def _failures(group: Group) -> int:
    return sum(result.state in ("failed", "refused") for result in group.results.values())


def _failed(group: Group, count: int) -> tuple[str, Setting, int, int]:
    return group.label, group.setting, _failures(group), count


def _accuracy(group: Group) -> dict[int, float]:
    found = {int(seed): float(value) for seed, value in group.accuracy.items()}
    bad = [s for s, result in group.results.items() if result.state in ("failed", "refused")]
    return dict(sorted((found | dict.fromkeys(bad, 0.0)).items()))


def _floats(comparison: Comparison, block: Setting) -> dict[int, float]:
    group = comparison.float_of(block)
    if group is None:
        return {}
    return {int(seed): float(value) for seed, value in group.accuracy.items()}


def _complete(
    labels: Sequence[str], present: Mapping[Setting, frozenset[str]], needed: str | None
) -> frozenset[str] | None:
    """The rows that, with the blocks in which all of them have a score, keep the most scores.

    Args:
        labels: The rows, in order.
        present: The rows that have a score in each block.
        needed: A row that has to stay.
    """
    best, most = None, (0, 0)
    for rows in sorted(_choices(present.values()), key=lambda own: [n not in own for n in labels]):
        blocks = sum(rows <= own for own in present.values())
        enough = len(rows) >= MINIMUM and blocks >= MINIMUM
        size = (len(rows) * blocks, len(rows))
        if enough and size > most and (needed is None or needed in rows):
            best, most = rows, size
    return best


def _choices(patterns: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    """The patterns and what they share: the best choice is one of these."""
    distinct = dict.fromkeys(patterns)
    found = set(distinct)
    for own in distinct:
        found |= {own & other for other in found}
        if len(found) > MOST_CHOICES:
            break
    return found
