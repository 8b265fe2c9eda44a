"""A table's columns in LaTeX: numbers stand under each other by their decimal points.

The number at a cell's start goes into a column of siunitx; what follows it, such as a spread or an
interval, into a second one close beside it. Cells without a number span both.
"""

import re
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from qbench.reporting.columns import is_numeric, split_number
from qbench.reporting.document import Entry, plain
from qbench.reporting.latex_text import escape_characters, stacked

__all__ = ["Column", "latex_column"]

MARKS = {"": "", "good": r"\,$\surd$", "bad": r"\,$\times$", "none": ""}
"""Without a package for colours."""
OPTIONS = "detect-weight,retain-explicit-plus,group-minimum-digits=20"
"""Bold where the cell is, a plus where the text has one, no space between thousands."""
TEXT_WIDTH = 32
"""Characters in a line of a cell of words."""
_PARTS = re.compile(r"([+−-]?)(\d+)(\.\d+)?")


class Column(NamedTuple):
    """One column of a table, as one or two of LaTeX's."""

    format: str
    """For the head of the tabular."""
    cells: list[str]
    """From above; one of a column of width 2 holds its own ``&``, or spans both."""
    below: dict[int, str]
    """By the place of a cell, words that stand in a line of their own below it."""
    width: int = 1
    side: Literal["l", "c"] = "c"
    """Where the head stands."""


def latex_column(entries: Sequence[Entry]) -> Column:
    """The column of these entries; numbers are aligned where two or more stand in it."""
    numeric = is_numeric(entries)
    found = [split_number(plain(entry.text)) for entry in entries] if numeric else []
    numbers = [one[0] for one in found if one is not None]
    if len(numbers) < 2:
        cells = [_words(entry) for entry in entries]
        return Column("r", cells, {}) if numeric else Column("l", cells, {}, side="l")
    rests = [one[1].partition("; ") if one is not None else ("", "", "") for one in found]
    beside = [
        rest + (MARKS[entry.mark] if one else "")
        for rest, one, entry in zip(_padded([r[0] for r in rests]), found, entries, strict=True)
    ]
    width = 2 if any(beside) else 1
    cells = [
        _number(one[0], rest, entry, width) if one else _spanning(_words(entry), width)
        for one, rest, entry in zip(found, beside, entries, strict=True)
    ]
    below = {
        index: _spanning(_words(Entry(reasons)), width)
        for index, (_, _, reasons) in enumerate(rests)
        if reasons
    }
    second = "@{}l" if width == 2 else ""
    return Column(f"S[table-format={_format(numbers)},{OPTIONS}]{second}", cells, below, width)


def _words(entry: Entry) -> str:
    text = stacked(textwrap.wrap(plain(entry.text), TEXT_WIDTH), "t", "l") + MARKS[entry.mark]
    text = rf"\textit{{{text}}}" if entry.mark == "none" else text
    return rf"\textbf{{{text}}}" if entry.bold or entry.mark == "bad" else text


def _spanning(text: str, width: int) -> str:
    """Words in a column of numbers."""
    return rf"\multicolumn{{{width}}}{{c}}{{{text}}}"


def _number(number: str, rest: str, entry: Entry, width: int) -> str:
    weight = r"\bfseries " if entry.bold or entry.mark == "bad" else ""
    mantissa, _, exponent = number.partition("e")
    number = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    space = "~" if rest.startswith(" ") else ""
    rest = f"{weight}{space}{rest.strip()}" if rest else ""
    return f"{weight}{number} & {rest}" if width == 2 else f"{weight}{number}"


def _format(numbers: Sequence[str]) -> str:
    """The room that the numbers need: ``-2.2``, ``1.3e-2``."""
    signs = {number[0] for number in numbers} & {"+", "-"}
    parts = [number.lstrip("+-").partition("e") for number in numbers]
    wholes, decimals = zip(*(mantissa.partition(".")[::2] for mantissa, _, _ in parts), strict=True)
    room = ("+" if signs else "") + str(max(map(len, wholes)))
    room += f".{max(map(len, decimals))}" if any(decimals) else ""
    exponents = [int(exponent) for _, _, exponent in parts if exponent]
    if exponents:
        sign = "-" if min(exponents) < 0 else ""
        room += f"e{sign}{max(len(str(abs(exponent))) for exponent in exponents)}"
    return room


def _padded(rests: Sequence[str]) -> list[str]:
    """Escaped texts; numbers at the same places of texts of one form get the same width."""
    forms: defaultdict[str, list[int]] = defaultdict(list)
    for index, rest in enumerate(rests):
        forms[_PARTS.sub("0", rest)].append(index)
    padded = [""] * len(rests)
    for indices in forms.values():
        found = [list(_PARTS.finditer(rests[index])) for index in indices]
        widest = [_widest(place) for place in zip(*found, strict=True)]
        for index, matches in zip(indices, found, strict=True):
            padded[index] = _filled(rests[index], matches, widest)
    return padded


def _widest(matches: Sequence[re.Match[str]]) -> list[int]:
    """The longest sign, whole part and decimals of numbers that stand under each other."""
    return [max(map(len, parts)) for parts in zip(*(m.groups("") for m in matches), strict=True)]


def _filled(text: str, matches: list[re.Match[str]], widest: list[list[int]]) -> str:
    pieces, end = [], 0
    for match, (sign, whole, decimals) in zip(matches, widest, strict=True):
        own = [len(part) for part in match.groups("")]
        before = "$-$" * (sign - own[0]) + "0" * (whole - own[1])
        after = ("." if decimals and not own[2] else "") + "0" * (decimals - max(own[2], 1))
        pieces += [escape_characters(text[end : match.start()]), _room(before)]
        pieces += [escape_characters(match[0]), _room(after)]
        end = match.end()
    return "".join([*pieces, escape_characters(text[end:])])


def _room(text: str) -> str:
    return rf"\phantom{{{text}}}" if text else ""
