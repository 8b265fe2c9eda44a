"""Tables in LaTeX: aligned numbers, spans, notes, and documents that compile."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qbench.reporting import latex
from qbench.reporting.document import Entry, Table
from qbench.reporting.latex import escape_latex, render_latex
from qbench.reporting.latex_columns import latex_column

SIUNITX = {"installed": r"\usepackage{siunitx}", "version 2": r"\usepackage{siunitx}[=v2]"}


def column(*texts: str) -> tuple[str, list[str]]:
    made = latex_column([Entry(text) for text in texts])
    return made.format, made.cells


def test_numbers_stand_under_each_other_by_their_points() -> None:
    head, cells = column("9.5", "−10.25", "0.0144", "1.2e-05")
    assert head.startswith("S[table-format=+2.4e-1,")
    assert cells == ["9.5", "-10.25", "0.0144", "1.2e-5"]


def test_what_follows_a_number_stands_close_beside_it() -> None:
    texts = ("25.09 ± 1.10 (2)", "5.00 ± 11.00 (2)", "6.00 ± 1.00 (2)", "failed: diverged (2 of 2)")
    head, cells = column(*texts)
    assert head.startswith("S[table-format=2.2,")
    assert head.endswith("]@{}l")
    assert cells == [
        r"25.09 & ~$\pm$ \phantom{0}1.10 (2)",
        r"5.00 & ~$\pm$ 11.00 (2)",
        r"6.00 & ~$\pm$ \phantom{0}1.00 (2)",
        r"\multicolumn{2}{c}{failed: diverged (2 of 2)}",
    ]


def test_intervals_get_room_for_signs_and_decimals() -> None:
    _, cells = column("1.0 [−1.0, 3.00]", "2.0 [1.0, 30.0]")
    assert cells == [
        r"1.0 & ~{[}$-$1.0, \phantom{0}3.00]",
        r"2.0 & ~{[}\phantom{$-$}1.0, 30.0\phantom{0}]",
    ]


def test_reasons_beside_a_number_stand_below_it() -> None:
    entries = [Entry("1.0 ± 0.1 (2); failed: x (1 of 3)"), Entry("2.0 ± 0.1 (3)")]
    text = render_latex(
        [Table("t", "c", "row", [("a",)], [("r1", entries[:1]), ("r2", entries[1:])])], "s"
    )
    first, second, third = text.split("\\midrule\n")[1].splitlines()[:3]
    assert first == r"r1 & 1.0 & ~$\pm$ 0.1 (2) \\"
    assert second == r" & \multicolumn{2}{c}{failed: x (1 of 3)} \\"
    assert third == r"r2 & 2.0 & ~$\pm$ 0.1 (3) \\"


def test_bold_and_marks() -> None:
    entries = [Entry("1.00", bold=True), Entry("2.00", mark="good"), Entry("n/a", mark="none")]
    made = latex_column(entries)
    assert made.cells == [
        r"\bfseries 1.00 & ",
        r"2.00 & \,$\surd$",
        r"\multicolumn{2}{c}{\textit{n/a}}",
    ]


def test_words_stand_at_the_left_and_long_ones_in_lines() -> None:
    head, cells = column("sgd", "0.1", " ".join(["word"] * 20))
    assert head == "l"
    assert cells[1] == "0.1"
    assert cells[2].startswith(r"\begin{tabular}[t]{@{}l@{}}word")


def test_heads_span_the_columns_that_numbers_take() -> None:
    entries = [Entry("1.0 ± 0.1"), Entry("2.0"), Entry("1.0 ± 0.1")]
    heads = [("m", "a"), ("m", "b"), ("n", "c")]
    text = render_latex([Table("t", "c", "row", heads, [("r", entries), ("s", entries)])], "s")
    assert r"\multicolumn{3}{c}{m} & \multicolumn{2}{c}{n} \\" in text
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-6}" in text


def test_legend_and_notes_stand_under_the_table() -> None:
    table = Table("t", "Caption.", "row", [("a",)], [("r", [Entry("1")])], "Legend.", ["Note."])
    text = render_latex([table], "s")
    assert r"\caption{Caption.}" in text
    assert text.index("\\bottomrule") < text.index("Legend.") < text.index("Note.")


def test_a_long_table_is_cut_at_rows() -> None:
    rows = [(f"method {number}", [Entry("1.0")]) for number in range(70)]
    text = render_latex([Table("t", "Long.", "row", [("a",)], rows, "Legend.", ["Note."])], "s")
    assert re.findall(r"Rows (\d+) to (\d+) of 70", text) == [
        ("1", "28"),
        ("29", "56"),
        ("57", "70"),
    ]
    assert text.count("method ") == 70
    assert text.count("Legend.") == text.count("Note.") == 1


def test_the_comment_names_what_a_copied_table_needs() -> None:
    text = render_latex([], "s")
    comment, preamble = text.split("\\documentclass")
    for package in ("booktabs", "graphicx", "siunitx", "etoolbox"):
        assert rf"\usepackage{{{package}}}" in comment
        assert rf"\usepackage{{{package}}}" in preamble


def test_equal_keys_get_labels_of_their_own() -> None:
    table = Table("t", "c", "row", [("a",)], [("r", [Entry("1")])])
    labels = re.findall(r"\\label\{(.*?)\}", render_latex([table, table], "s"))
    assert labels == ["tab:t", "tab:t-2"]


def test_latex_prints_every_character_of_the_reports_own_words() -> None:
    for path in Path(latex.__file__).parent.glob("*.py"):
        characters = {c for c in path.read_text(encoding="utf-8") if not c.isascii()}
        assert "U+" not in escape_latex("".join(sorted(characters))), path.name


def compiled(text: str, folder: Path) -> str:
    """The log of pdflatex, which must succeed."""
    (folder / "tables.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def siunitx() -> None:
    """Skips where there is no LaTeX, or not its package for numbers."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True)
    if not found.stdout.strip():
        pytest.skip("the LaTeX package siunitx is not installed (Debian: texlive-science)")


@pytest.mark.parametrize("version", SIUNITX)
@pytest.mark.usefixtures("siunitx")
def test_a_wide_table_compiles_and_fits(version: str, tmp_path: Path) -> None:
    entries = [
        Entry("25.09 ± 1.10 (2); failed: diverged (1 of 3)"),
        Entry("−6.04 [−7.1, −5.0]", bold=True, value=-6.04),
        Entry("failed: diverged (1 of 2)"),
        Entry("1.22×", mark="good"),
        Entry("0.0144", mark="bad"),
        Entry("1.2e-05"),
    ]
    heads = [(f"resnet{size} on cifar100", "W1A32 [−1, 1]") for size in range(6)]
    # Each row starts with another of the entries, so that every kind meets in every column.
    rows = [(f"method {row}", entries[row % 6 :] + entries[: row % 6]) for row in range(12)]
    text = render_latex([Table("wide", "Wide.", "row", heads, rows, "Legend.", ["Note."])], "s")
    log = compiled(text.replace(SIUNITX["installed"], SIUNITX[version]), tmp_path)
    assert "Overfull \\hbox" not in log
    assert "siunitx Warning" not in log


@pytest.mark.usefixtures("siunitx")
def test_more_tables_than_latex_keeps_in_wait_compile(tmp_path: Path) -> None:
    table = Table("t", "c", "row", [("a",)], [("r", [Entry("1")])])
    compiled(render_latex([table] * 25, "st_udy\nwith lines"), tmp_path)  # it keeps 18
