"""A report's tables as a LaTeX document; each table can be copied into a paper by itself."""

from collections.abc import Iterable, Sequence

import pandas as pd

from qbench.reporting.document import Entry, Table, plain

__all__ = ["escape_latex", "render_latex"]

_CHARACTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    # At the start of a row these would belong to the line break before it.
    "[": "{[}", "*": "{*}",
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "·": r"$\cdot$", "—": r"\textemdash{}",
    "✓": r"$\surd$", "✗": r"$\times$", "≥": r"$\geq$", "Δ": r"$\Delta$",
}  # fmt: skip
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[landscape,margin=15mm]{geometry}
\begin{document}
"""
MARKS = {"": "", "good": r"\,$\surd$", "bad": r"\,$\times$", "none": ""}
"""Without a package for colours."""
MOST_FLOATS = 10
"""LaTeX keeps only so many floating tables in wait."""
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Narrows a table that is wider than the text, and leaves others as they are."""


def escape_latex(text: str) -> str:
    """``text`` as one line of LaTeX that prints every character.

    A character outside Latin-1 that has no command here is printed as its code point, since the
    fonts of pdflatex do not hold it.
    """
    text = "".join(_latex_character(character) for character in plain(text))
    return text.replace("--", "-{}-")  # two hyphens would become a dash


def _latex_character(character: str) -> str:
    known = _CHARACTERS.get(character)
    if known is not None:
        return known
    code = ord(character)
    printable = code < 128 or (code < 256 and character.isalpha())
    return character if printable else f"U+{code:04X}"


def render_latex(tables: Iterable[Table], title: str) -> str:
    """A document of the tables that compiles as it stands."""
    head = f"% Tables of the study {escape_latex(title)}; they need booktabs and graphicx.\n"
    blocks = []
    for number, table in enumerate(tables, 1):
        blocks.append(_latex_table(table))
        if number % MOST_FLOATS == 0:
            blocks.append("\\clearpage\n")
    body = "\n".join(blocks)
    return f"{head}{PREAMBLE}\n{body}\n\\end{{document}}\n"


def _latex_table(table: Table) -> str:
    notes = [rf"\par\smallskip\footnotesize {escape_latex(note)}" for note in table.notes]
    lines = [
        r"\begin{table}[p]",
        r"\centering",
        rf"\caption{{{escape_latex(f'{table.caption} {table.legend}')}}}",
        rf"\label{{tab:{table.key}}}",
        r"\medskip",
        FIT,
        _tabular(table).rstrip(),
        "}",
        *notes,
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _tabular(table: Table) -> str:
    levels = len(table.columns[0])
    heads = [tuple(escape_latex(part) for part in column) for column in table.columns]
    columns = pd.MultiIndex.from_tuples(
        [("",) * (levels - 1) + (escape_latex(table.head),), *heads]
    )
    rows = [
        [escape_latex(name), *(_latex_entry(entry) for entry in entries)]
        for name, entries in table.rows
    ]
    frame = pd.DataFrame(rows, columns=columns if levels > 1 else columns.get_level_values(0))
    styler = frame.style.hide(axis="index")
    text: str = styler.to_latex(
        column_format="l" + "r" * len(table.columns), hrules=True, multicol_align="c"
    )
    return _with_rules(text, heads) if levels > 1 else text


def _latex_entry(entry: Entry) -> str:
    text = escape_latex(entry.text) + MARKS[entry.mark]
    text = rf"\textit{{{text}}}" if entry.mark == "none" else text
    return rf"\textbf{{{text}}}" if entry.bold or entry.mark == "bad" else text


def _with_rules(text: str, heads: Sequence[tuple[str, ...]]) -> str:
    """Rules under the outer heads, which pandas has no word for."""
    lines = text.splitlines()
    outer = next(index for index, line in enumerate(lines) if line == r"\toprule") + 1
    for level in range(len(heads[0]) - 1):
        rules, first = [], 0
        for index in range(1, len(heads) + 1):
            if index == len(heads) or heads[index][: level + 1] != heads[first][: level + 1]:
                rules.append(rf"\cmidrule(lr){{{first + 2}-{index + 1}}}")
                first = index
        lines.insert(outer + 2 * level + 1, " ".join(rules))
    return "\n".join(lines)
