"""No name is markup: in Markdown, in LaTeX, and on a terminal."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qbench.reporting.document import Entry, Items, Table, Text
from qbench.reporting.latex import escape_latex, render_latex
from qbench.reporting.markdown import escape_markdown, render_markdown, render_terminal

HOSTILE = [
    "a|b", "x_y_", "_x_", "50%", "$a$", "R&D", "<b>bold</b>", "a>b", r"\textbf{x}", "{x}", "#1",
    "~~x~~", "^2", "`code`", "**x**", "[x](y)", "- item", "+ item", "1. item", "## head", "a--b",
    "*[1mm]", '"x"', "two\nlines", "\x1b[31mred", "größe", "量化", "===", "!x",
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
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows[1:]} == {3}  # four columns
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    many = [TABLE] * 25  # more than LaTeX keeps in wait
    (tmp_path / "tables.tex").write_text(render_latex(many, "st_udy\nwith lines"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
