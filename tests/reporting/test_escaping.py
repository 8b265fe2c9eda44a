"""No name is markup: in Markdown, in LaTeX, in HTML, and on a terminal."""

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qbench.reporting.document import Entry, Figure, Heading, Items, Part, Table, Text, plain
from qbench.reporting.html import render_html
from qbench.reporting.latex import escape_latex, render_latex
from qbench.reporting.markdown import escape_markdown, render_markdown, render_terminal

HOSTILE = [
    "a|b", "x_y_", "_x_", "50%", "$a$", "R&D", "<b>bold</b>", "a>b", r"\textbf{x}", "{x}", "#1",
    "~~x~~", "^2", "`code`", "**x**", "[x](y)", "- item", "+ item", "1. item", "## head", "a--b",
    "*[1mm]", '"x"', "two\nlines", "\x1b[31mred", "größe", "量化", "===", "!x",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "{% raw %}",
    "</style>", "</title>", "<!--", "]]>", "&lt;", "' onclick='x", "javascript:x", "a---b", ",,",
    "1.5 & 2", "3.0 % [x]", "−2.0; x_y", "\\\\[1mm]", r"\end{tabular}", "é" * 10, "name " * 60,
    "n" * 300, "\u202eright to left", "",
]  # fmt: skip
TABLE = Table(
    key="hostile",
    caption="Names: " + " ".join(HOSTILE),
    head="a|&_",
    columns=[("m_1 & co", "W1|A32"), ("m_1 & co", "50%"), ("m\\2", "50%")],
    rows=[(name, [Entry(name), Entry(name, bold=True), Entry("−1.0 ± 2×")]) for name in HOSTILE],
    notes=HOSTILE,
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("my_method", "my_method"),  # between letters an underscore is only that
        ("_x_", r"\_x\_"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[x](y)", r"\[x](y)"),
        ("$a$", r"\$a\$"),
        (r"\x", r"\\x"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("92.5", "92.5"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        ("R&D", r"R\&D"),
        (r"\x{}", r"\textbackslash{}x\{\}"),
        ("$#^~", r"\$\#\textasciicircum{}\textasciitilde{}"),
        ("a--b", "a-{}-b"),
        ("a---b", "a-{}-{}-b"),
        ("''", "'{}'"),
        ("1 ± 2", r"1 $\pm$ 2"),
        ("量", "U+91CF"),
        ("two\nlines", "two lines"),
    ],
)
def test_latex(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_a_markdown_table_keeps_its_columns() -> None:
    lines = render_markdown([TABLE]).splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + len(HOSTILE)
    separators = {len(re.findall(r"(?<!\\)\|", line)) for line in body}
    assert separators == {5}  # four columns


def test_markdown_has_no_tag() -> None:
    text = render_markdown([Text(name) for name in HOSTILE] + [Items(tuple(HOSTILE)), TABLE])
    assert "<" not in text
    assert "\x1b" not in text


def test_a_terminal_obeys_no_name() -> None:
    assert "\x1b" not in render_terminal([TABLE])


def test_latex_groups_are_balanced() -> None:
    text = render_latex([TABLE], "st_udy")
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    tabulars = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, flags=re.DOTALL)
    count = 0
    for tabular in tabulars:
        rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        count += len(rows) - 2  # without the two levels of heads
        assert {sum(_widths(line)) for line in rows} == {5}  # names, words twice, numbers in two
    assert count == len(HOSTILE)
    assert r"\cmidrule" in text


def _widths(line: str) -> list[int]:
    """How many columns each cell of a row takes."""
    cells = re.split(r"(?<!\\)&", line)
    spans = [re.match(r"\s*\\multicolumn\{(\d)\}", cell) for cell in cells]
    return [int(span[1]) if span else 1 for span in spans]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True)
    if not found.stdout.strip():
        pytest.skip("the LaTeX package siunitx is not installed (Debian: texlive-science)")
    (tmp_path / "tables.tex").write_text(render_latex([TABLE], "st_udy\nwith lines"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


class Reader(HTMLParser):
    """The texts and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_html_shows_every_name_and_obeys_none(tmp_path: Path) -> None:
    parts: list[Part] = [Heading(name) for name in HOSTILE]
    parts += [Text(name) for name in HOSTILE]
    parts += [Items(tuple(HOSTILE)), TABLE, Figure(Path("none"), "".join(HOSTILE))]
    found = read(render_html(parts, "".join(HOSTILE), tmp_path))
    shown = Counter(text.strip() for text in found.texts)
    for name in filter(None, map(plain, HOSTILE)):
        # Heading, its line in the contents, text, item, row, two cells, note.
        assert shown[name] >= 8, name
    assert found.tags["script"] == 1
    assert found.tags["style"] == 1
    assert found.tags["img"] == 0
    assert not {name for name in found.attributes if name.startswith("on")}
