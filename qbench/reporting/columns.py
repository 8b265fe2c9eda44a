"""Columns of a table: which hold numbers, what stands beside a number, and how heads span."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from qbench.reporting.document import Entry
from qbench.reporting.numbers import NOTHING

__all__ = ["BESIDE", "Span", "is_numeric", "spans", "split_number"]

_NUMBER = re.compile(r"([+−-]?\d+(?:\.\d+)?(?:e[+−-]?\d+)?)(?![\w.,/-])(.*)", re.DOTALL)
"""A number at the start of a text, and the rest; versions, dates and lists are none."""

BESIDE = " / "
"""Between values that stand beside each other in an entry."""
SHARE = 0.75
"""Of the entries that say something, how many start with a number in a column of numbers."""


class Span(NamedTuple):
    """A head over neighbouring columns."""

    text: str
    first: int
    """The first column under it, counted from 0."""
    size: int
    """How many columns are under it."""


def spans(columns: Sequence[tuple[str, ...]]) -> Iterator[list[Span]]:
    """The heads of each level, from the outermost; neighbours with equal heads share one.

    The innermost level has a head for each column. A head never spans two heads above it.
    """
    levels = len(columns[0]) if columns else 0
    for level in range(levels):
        groups = groupby(range(len(columns)), key=lambda index: columns[index][: level + 1])
        wide = [list(indices) for _, indices in groups]
        if level == levels - 1:
            wide = [[index] for index in range(len(columns))]
        yield [Span(columns[group[0]][level], group[0], len(group)) for group in wide]


def split_number(text: str) -> tuple[str, str] | None:
    """``25.09 ± 1.10 (2)`` as ``25.09`` and ``" ± 1.10 (2)"``; none where no number starts it."""
    found = _NUMBER.fullmatch(text)
    return (found[1].replace("−", "-"), found[2]) if found else None


def is_numeric(entries: Sequence[Entry]) -> bool:
    """Whether a column is one of numbers.

    It is where an entry has a value to sort by, and where nearly all start with a number; a column
    of settings, some of which are numbers, is not, nor is one of several values in an entry.
    """
    told = [e for e in entries if e.mark != "none" and e.text != NOTHING]
    single = [e for e in told if e.value is not None or BESIDE not in e.text]
    numbers = sum(split_number(entry.text) is not None for entry in single)
    valued = any(entry.value is not None for entry in entries)
    return numbers > 0 and (valued or numbers >= SHARE * len(told))
