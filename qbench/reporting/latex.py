"""A report's tables as a LaTeX document; each table can be copied into a paper by itself."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from qbench.reporting.columns import spans
from qbench.reporting.document import Table, plain
from qbench.reporting.latex_columns import Column, latex_column
from qbench.reporting.latex_text import escape_latex, stacked

__all__ = ["escape_latex", "render_latex"]

HEAD = r"""% Tables of the study {title}.
% A table that is copied into a paper needs these lines in its preamble:
%   \usepackage{{booktabs}}
%   \usepackage{{graphicx}}          % narrows a table that is wider than the text
%   \usepackage{{siunitx}}           % 2 or 3: numbers stand under each other
%   \usepackage{{etoolbox}}
%   \robustify\bfseries            % siunitx 2 aligns bold numbers only with this
"""
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{siunitx}
\usepackage{etoolbox}
\robustify\bfseries
\usepackage[landscape,margin=15mm]{geometry}
\begin{document}
"""
MOST_ROWS = 28
"""Of a table on a page in landscape, beside its notes."""
MOST_FLOATS = 10
"""LaTeX keeps only so many floating tables in wait."""
FIT = r"\sbox0{\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Narrows a table that is wider than the text, and leaves others as they are; box 0 keeps it."""
NOTES = r"\begin{minipage}{\ifdim\wd0<0.6\linewidth 0.6\linewidth\else\wd0\fi}"
"""As wide as the table above, and not too narrow to read."""
NAME_WIDTH, HEAD_WIDTH = 40, 16
"""Characters in a line of a row's name and of a column's head."""


def render_latex(tables: Iterable[Table], title: str) -> str:
    """A document of the tables that compiles as it stands.

    Args:
        tables: In the order of their pages; a key that returns gets a number.
        title: The study's name, for the comment at the start.
    """
    blocks = []
    keys: dict[str, int] = {}
    for number, table in enumerate(chain.from_iterable(map(_pieces, tables)), 1):
        keys[table.key] = count = keys.get(table.key, 0) + 1
        blocks.append(_latex_table(table, f"{table.key}-{count}" if count > 1 else table.key))
        if number % MOST_FLOATS == 0:
            blocks.append("\\clearpage\n")
    body = "\n".join(blocks)
    return f"{HEAD.format(title=escape_latex(title))}{PREAMBLE}\n{body}\n\\end{{document}}\n"


def _pieces(table: Table) -> Iterator[Table]:
    """The table in parts that a page holds; legend and notes stand under the last."""
    size = len(table.rows)
    if size <= MOST_ROWS:
        yield table
        return
    for first in range(0, size, MOST_ROWS):
        rows = table.rows[first : first + MOST_ROWS]
        caption = f"{table.caption} Rows {first + 1} to {first + len(rows)} of {size}."
        piece = replace(table, rows=rows, caption=caption)
        yield piece if first + len(rows) == size else replace(piece, legend="", notes=())


def _latex_table(table: Table, key: str) -> str:
    lines = [
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{key}}}",
        r"\medskip",
        FIT,
        *_tabular(table),
        r"}}\usebox0",
        *_notes(table),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _notes(table: Table) -> Iterator[str]:
    """Legend and notes, each a paragraph under the table."""
    notes = [escape_latex(note) for note in (table.legend, *table.notes) if plain(note)]
    if notes:
        yield r"\par\smallskip"
        yield rf"{NOTES}\footnotesize\raggedright"
        yield "\\par\n".join(notes)
        yield r"\end{minipage}"


def _tabular(table: Table) -> Iterator[str]:
    entries = [[row[index] for _, row in table.rows] for index in range(len(table.columns))]
    columns = [latex_column(column) for column in entries]
    formats = "".join(column.format for column in columns)
    yield rf"\begin{{tabular}}{{l{formats}}}"
    yield r"\toprule"
    yield from _heads(table, columns)
    yield r"\midrule"
    for index, (name, _) in enumerate(table.rows):
        cells = [column.cells[index] for column in columns]
        yield _line([stacked(textwrap.wrap(plain(name), NAME_WIDTH), "t", "l"), *cells])
        if any(index in column.below for column in columns):
            yield _line(["", *(column.below.get(index, _empty(column)) for column in columns)])
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _empty(column: Column) -> str:
    return " & " * (column.width - 1)


def _heads(table: Table, columns: Sequence[Column]) -> Iterator[str]:
    """The heads of all levels, with rules under the outer ones."""
    places = [2]  # the first column in LaTeX's count, after that of the names
    for column in columns:
        places.append(places[-1] + column.width)
    levels = list(spans(table.columns))
    for level, heads in enumerate(levels):
        last = level == len(levels) - 1
        cells = [_stacked_head(table.head, "l") if last else ""]
        rules = []
        for head in heads:
            first, after = places[head.first], places[head.first + head.size]
            side = columns[head.first].side if last else "c"
            text = _stacked_head(head.text, side, HEAD_WIDTH * head.size)
            cells.append(rf"\multicolumn{{{after - first}}}{{{side}}}{{{text}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{after - 1}}}")
        yield _line(cells)
        if not last:
            yield " ".join(rules)
    if not levels:
        yield _line([_stacked_head(table.head, "l")])


def _stacked_head(text: str, side: str, width: int = HEAD_WIDTH) -> str:
    return stacked(textwrap.wrap(plain(text), width), "b", side)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
