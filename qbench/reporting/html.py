"""A report as one HTML page that needs no other file and no network.

The page is whole without scripts. Its own script, eighty lines in ``page.js``, adds sorting and
filters to the tables; the page forbids every other script, style, image and request.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from qbench.reporting.columns import is_numeric, spans
from qbench.reporting.document import Entry, Figure, Heading, Items, Part, Table, Text, plain
from qbench.reporting.numbers import NOTHING

__all__ = ["render_html"]

MARKS = {"": "", "good": " ✓", "bad": " ✗", "none": ""}
LONG_WORDS = 24
"""Characters in a cell of a column of numbers, from which it may take several lines."""
SCALE = 0.75
"""Of the page's dots to an image's, so that letters in figures are as large as those of tables."""
PNG = b"\x89PNG\r\n\x1a\n"

Block = Mapping[str, Any]
"""What the template draws; ``kind`` names the macro."""


def render_html(parts: Iterable[Part], title: str, folder: Path) -> str:
    """The whole report as one page; the same parts and figures give the same bytes.

    Args:
        parts: The report.
        title: What stands in the browser's tab, and above a report without a heading of level 1.
        folder: The report's folder, where the figures lie as PNG. One that is missing is said on
            the page.
    """
    blocks = list(_Blocks(folder).of(parts))
    if not any(block["kind"] == "heading" and block["level"] == 1 for block in blocks):
        top = {"kind": "heading", "level": 1, "text": plain(title), "id": "top"}
        blocks.insert(0, top)
    style, script = _packaged("page.css"), _packaged("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    page: str = _template().render(
        title=plain(title),
        policy=policy,
        style=style,
        script=script,
        blocks=blocks,
        contents=_contents(blocks),
    )
    return page


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("qbench.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja")


def _packaged(name: str) -> str:
    return files("qbench.reporting").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The words by which a content security policy allows this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _contents(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    """The headings of levels 2 and 3, those below their own."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        if block["kind"] != "heading" or block["level"] > 3:
            continue
        entry = {"id": block["id"], "text": block["text"], "below": []}
        if block["level"] == 3 and found:
            found[-1]["below"].append(entry)
        else:
            found.append(entry)
    return found


class _Blocks:
    """Parts as the template wants them, with numbers and names to link to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = self.figures = 0
        self.legend = ""
        self.used: dict[str, int] = {"top": 1, "contents": 1}

    def of(self, parts: Iterable[Part]) -> Iterable[Block]:
        """The block of each part."""
        for part in parts:
            match part:
                case Heading(text, level):
                    text = plain(text)
                    name = self._name(text, "section")
                    level = min(max(level, 1), 4)
                    yield {"kind": "heading", "level": level, "text": text, "id": name}
                case Text(text, strong):
                    yield {"kind": "text", "text": plain(text), "strong": strong}
                case Items(items):
                    yield {"kind": "list", "lines": [plain(item) for item in items]}
                case Figure():
                    yield self._figure(part)
                case Table():
                    yield self._table(part)

    def _name(self, text: str, other: str) -> str:
        """Letters, digits and hyphens that name one place of the page, the same in every report."""
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or other
        self.used[name] = count = self.used.get(name, 0) + 1
        return name if count == 1 else self._name(f"{name}-{count}", other)

    def _figure(self, figure: Figure) -> Block:
        self.figures += 1
        file = (
            f"{figure.path.as_posix()}.png"  # a name may hold a dot, so that no suffix is cut off
        )
        block = {
            "kind": "drawing",
            "id": self._name(f"figure-{figure.path.name}", "figure"),
            "number": self.figures,
            "caption": plain(figure.caption),
            "file": plain(file),
            "source": "",
        }
        try:
            data = (self.folder / file).read_bytes()
        except OSError:
            data = b""
        if data.startswith(PNG) and len(data) > 24:
            block["source"] = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            # The first chunk begins with the size.
            block["width"] = round(SCALE * int.from_bytes(data[16:20]))
            block["height"] = round(SCALE * int.from_bytes(data[20:24]))
        return block

    def _table(self, table: Table) -> Block:
        self.tables += 1
        legend, self.legend = table.legend if table.legend != self.legend else "", table.legend
        columns = [[row[index] for _, row in table.rows] for index in range(len(table.columns))]
        numeric = [is_numeric(column) for column in columns]
        return {
            "kind": "table",
            "id": self._name(f"table-{table.key}", "table"),
            "number": self.tables,
            "caption": plain(table.caption),
            "legend": plain(legend),
            "head": plain(table.head),
            "heads": [
                [span._replace(text=plain(span.text)) for span in level]
                for level in spans(table.columns)
            ]
            or [[]],
            "numeric": numeric,
            "rows": [
                (plain(name), [_cell(*pair) for pair in zip(entries, numeric, strict=True)])
                for name, entries in table.rows
            ],
            "notes": [plain(note) for note in table.notes],
        }


def _cell(entry: Entry, numeric: bool) -> dict[str, Any]:
    """A cell with its classes; ``value`` is what the page sorts by."""
    text = plain(entry.text)
    kinds: list[str] = [entry.mark] if entry.mark else []
    if numeric:
        kinds += ["number"] if len(text) <= LONG_WORDS else ["number", "wide"]
    value = None
    if entry.value is not None and not math.isnan(entry.value):
        value = repr(float(entry.value)).replace("inf", "Infinity")
    return {
        "text": text + MARKS[entry.mark],
        "bold": entry.bold,
        "kinds": " ".join(kinds) or None,
        "value": value,
        "none": "" if text in ("", NOTHING) or entry.mark == "none" else None,
    }
