"""Which published numbers stand beside which row of a study, and which of them are shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.published import PublishedRow, published
from qbench.reporting.published_protocol import distance, matches
from qbench.reporting.statistics import Estimate
from qbench.study.trial import Trial

__all__ = ["Match", "Sources", "find_matches"]


@dataclass(frozen=True)
class Match:
    """A row of the study in one setting, with the published numbers of its cell."""

    label: str
    group: Group
    trial: Trial
    """One of the group's; seeds differ in nothing that is compared here."""
    drop: Estimate
    """Ours: float minus quantized in points, paired by seed."""
    shown: tuple[PublishedRow, ...]
    recalled: tuple[PublishedRow, ...]
    """Not shown, because nobody read them at their source."""
    unlike: tuple[PublishedRow, ...]
    """Not shown, because others of their kind are of a nearer variant."""

    def of(self, *kinds: str) -> list[PublishedRow]:
        """What is shown of these kinds."""
        return [row for row in self.shown if row.kind in kinds]


class Sources:
    """Marks of sources, numbered as they are first asked for."""

    def __init__(self) -> None:
        """Start without any."""
        self._marks: dict[str, str] = {}

    def mark(self, row: PublishedRow) -> str:
        """``[S1]`` of a number's source."""
        return self._marks.setdefault(row.source, f"[S{len(self._marks) + 1}]")

    def lines(self) -> Iterator[str]:
        """Each mark with its source."""
        for source, mark in self._marks.items():
            yield f"{mark} {source}"


def find_matches(
    comparison: Comparison, *, include_recalled: bool, table: Sequence[PublishedRow] | None
) -> Iterator[Match]:
    """Every quantized row and setting for which there is a published number, in the study's order.

    Args:
        comparison: The study's results.
        include_recalled: Show numbers that nobody read at their source.
        table: Other rows than the packaged ones.
    """
    known = published(table=table)
    for label in comparison.labels:
        for setting in comparison.settings:
            group = comparison.groups.get((label, setting))
            if group is None or group.is_float or not group.results:
                continue
            trial = next(iter(group.results.values())).trial
            found = [row for row in known if matches(row, trial)]
            if found:
                read = [row for row in found if include_recalled or row.tag == "verified"]
                near = tuple(_near(read, trial))
                recalled = tuple(row for row in found if row not in read)
                unlike = tuple(row for row in read if row not in near)
                drop = comparison.drop(group)
                yield Match(label, group, trial, drop, near, recalled, unlike)


def _near(rows: Sequence[PublishedRow], trial: Trial) -> Iterator[PublishedRow]:
    """Those of the nearest variant, of papers and of others apart."""
    for kinds in (("paper",), ("quoted", "rerun")):
        yield from _nearest([row for row in rows if row.kind in kinds], trial)


def _nearest(rows: Sequence[PublishedRow], trial: Trial) -> list[PublishedRow]:
    """The rows that are most like ours; a drop without accuracies names no variant and stays."""
    away = {row: distance(row, trial) for row in rows if row.top1 is not None}
    least = min(away.values(), default=0)
    return [row for row in rows if away.get(row, least) == least]
