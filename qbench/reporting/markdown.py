"""A report's parts as Markdown that a code host renders, and tables for a terminal."""

import re
from collections.abc import Iterable

from tabulate import tabulate

from qbench.reporting.document import Entry, Figure, Heading, Items, Part, Table, Text, plain

__all__ = ["escape_markdown", "render_markdown", "render_terminal"]

_SPECIAL = re.compile(r"([\\`*\[#|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""Underscores between letters, closing brackets and braces mean nothing to Markdown."""
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
MARKS = {"": "", "good": " ✓", "bad": " ✗", "none": ""}
"""A host shows no colours in Markdown."""
_LINE_START = re.compile(r"^(?:([-+=])(?=[-=\s]|$)|(\d+)([.)])(?=\s|$))")


def escape_markdown(text: str) -> str:
    """``text`` as one line in which no character is markup."""
    line = _SPECIAL.sub(r"\\\1", plain(text).translate(_HTML))
    return _LINE_START.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)


def render_markdown(parts: Iterable[Part]) -> str:
    """The whole report."""
    blocks = []
    legend = ""
    for part in parts:
        if isinstance(part, Table):
            if part.legend not in ("", legend):
                blocks.append(escape_markdown(part.legend))
            legend = part.legend
        blocks.append(_markdown(part))
    return "\n\n".join(blocks) + "\n"


def _markdown(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"{'#' * level} {escape_markdown(text)}"
        case Text(text, strong):
            return f"**{escape_markdown(text)}**" if strong else escape_markdown(text)
        case Items(items):
            return "\n".join(f"- {escape_markdown(item)}" for item in items)
        case Figure(path, caption):
            # The path is made of letters, digits and hyphens by qbench: nothing to escape.
            return f"![{escape_markdown(caption)}]({path.as_posix()}.png)"
        case Table():
            return _markdown_table(part)


def _markdown_table(table: Table) -> str:
    heads = [escape_markdown(" · ".join(column)) for column in table.columns]
    rows = [
        [escape_markdown(name), *(_markdown_entry(entry) for entry in entries)]
        for name, entries in table.rows
    ]
    body = tabulate(
        rows,
        headers=[escape_markdown(table.head), *heads],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *("right" for _ in heads)),
    )
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    return "\n\n".join(part for part in (escape_markdown(table.caption), body, notes) if part)


def _markdown_entry(entry: Entry) -> str:
    text = escape_markdown(entry.text) + MARKS[entry.mark]
    text = f"*{text}*" if entry.mark == "none" else text
    return f"**{text}**" if entry.bold else text


def render_terminal(tables: Iterable[Table]) -> str:
    """Tables as plain text; a star stands for bold, and notes stand once, under the last."""
    blocks: list[str] = []
    notes: dict[str, None] = {}
    for table in tables:
        rows = [
            [plain(name), *(plain(e.text) + (" *" if e.bold else "  ") for e in entries)]
            for name, entries in table.rows
        ]
        heads = [plain(table.head), *("\n".join(map(plain, column)) for column in table.columns)]
        body = tabulate(
            rows,
            headers=heads,
            tablefmt="simple",
            disable_numparse=True,
            colalign=("left", *("right" for _ in table.columns)),
        )
        blocks.append(f"{plain(table.caption)}\n\n{body}")
        notes |= dict.fromkeys(note.replace("Bold:", "*:") for note in table.notes)
    return "\n\n".join([*blocks, "\n".join(map(plain, notes))]).rstrip()
