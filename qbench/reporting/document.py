"""The parts of a report, as plain text that each format escapes in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Entry", "Figure", "Heading", "Items", "Mark", "Part", "Table", "Text", "plain"]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the report's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[str, ...]


Mark = Literal["", "good", "bad", "none"]
"""What a table thinks of a number: nothing, well, ill, or that there is none."""


@dataclass(frozen=True)
class Entry:
    """A cell of a table."""

    text: str
    bold: bool = False
    mark: Mark = ""
    value: float | None = None
    """The number behind the text, by which a page sorts; none sorts last."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    key: str
    """Of letters and hyphens; the LaTeX label."""
    caption: str
    head: str
    """What stands above the rows' names."""
    columns: Sequence[tuple[str, ...]]
    """The heads of the columns, from the outermost level to the innermost."""
    rows: Sequence[tuple[str, Sequence[Entry]]]
    legend: str = ""
    """What the columns mean; Markdown prints it once for tables that follow each other."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences under the table."""


@dataclass(frozen=True)
class Figure:
    """A figure that lies in the report's folder as PNG and PDF."""

    path: Path
    """Without a suffix, relative to the report's folder."""
    caption: str


Part = Heading | Text | Items | Table | Figure


def plain(text: str) -> str:
    """One line without control characters, which a terminal would obey."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())
