"""The report of a study: Markdown, LaTeX, CSV and figures, made from its result files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qbench.errors import UsageError
from qbench.reporting.compare import Comparison
from qbench.reporting.diagnostics_chapter import diagnostics_chapter
from qbench.reporting.document import Figure, Heading, Part, Table, Text, plain
from qbench.reporting.facts import fairness, without_result
from qbench.reporting.figures import COMPARING, DIAGNOSING, MOST_PAIRS, write_figures
from qbench.reporting.footnotes import Footnotes
from qbench.reporting.head import environment, head
from qbench.reporting.headline import headline
from qbench.reporting.latex import render_latex
from qbench.reporting.long import csv_text, long_results, summary
from qbench.reporting.markdown import render_markdown, render_terminal
from qbench.reporting.tables import ablation_tables, comparison_tables, detail_table
from qbench.store import write_atomic
from qbench.study.plan import Plan

__all__ = ["Report", "write_report"]

TERMINAL_WIDTH = 4
"""Columns of a table that a terminal shows beside each other."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    folder: Path
    table_text: str
    """The comparison as plain text for a terminal."""
    headline: str
    """The study's answer in one sentence, with its uncertainty."""
    files: tuple[Path, ...]


def write_report(
    plan: Plan,
    results: Path,
    folder: Path,
    formats: Sequence[str],
    provenance: Mapping[str, Any],
) -> Report:
    """Read a study's result files and write its report; the same files give the same bytes.

    Args:
        plan: The study's plan; trials without a result are shown with their reason.
        results: The result store.
        folder: Where the report goes; made if it is not there.
        formats: Of ``markdown``, ``latex`` and ``csv``. Figures go with the first two.
        provenance: Words about the report's origin, printed at its end as they stand.

    Raises:
        UsageError: The study's baseline is no row of it, or the folder cannot be written.
    """
    comparison = Comparison(plan, results)
    footnotes = Footnotes(plan.cells)
    answer = plain(headline(comparison))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = set(formats) - {"csv"}
        figures = list(write_figures(comparison, folder, COMPARING)) if drawn else []
        whys = list(write_figures(comparison, folder, DIAGNOSING)) if drawn else []
        parts = list(_parts(comparison, footnotes, answer, figures, whys, provenance))
        written = [
            folder / figure.path.with_suffix(suffix)
            for _, figure in (*figures, *whys)
            for suffix in (".png", ".pdf")
        ]
        for name, text in _texts(comparison, parts, formats):
            write_atomic(folder / name, text.encode())
            written.append(folder / name)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to '{folder}': {error.strerror or error}; name another "
            "folder with report.output"
        ) from None
    table = render_terminal(comparison_tables(comparison, footnotes, TERMINAL_WIDTH))
    return Report(folder, table, answer, tuple(sorted(written)))


def _texts(
    comparison: Comparison, parts: Sequence[Part], formats: Sequence[str]
) -> Iterator[tuple[str, str]]:
    if "markdown" in formats:
        yield "report.md", render_markdown(parts)
    if "latex" in formats:
        tables = [part for part in parts if isinstance(part, Table)]
        yield "tables.tex", render_latex(tables, comparison.plan.study.study)
    if "csv" in formats:
        yield "results.csv", csv_text(long_results(comparison))
        yield "summary.csv", csv_text(summary(comparison))


def _parts(
    comparison: Comparison,
    footnotes: Footnotes,
    answer: str,
    figures: Sequence[tuple[str, Figure]],
    whys: Sequence[tuple[str, Figure]],
    provenance: Mapping[str, Any],
) -> Iterator[Part]:
    yield from head(comparison, answer)
    yield Heading("Comparison")
    yield from comparison_tables(comparison, footnotes)
    yield from (figure for _, figure in figures)
    if len(comparison.pairs) > MOST_PAIRS and figures:
        yield Text(
            f"Figures show the first {MOST_PAIRS} of {len(comparison.pairs)} pairs of model and "
            "data set; the tables hold all."
        )
    yield from diagnostics_chapter(comparison, whys)
    yield from without_result(comparison)
    if comparison.settings:
        yield Heading("Details of each setting")
    for number, setting in enumerate(comparison.settings, 1):
        yield detail_table(comparison, setting, f"details-{number}")
    if comparison.ablations:
        yield Heading("Ablations")
        yield from ablation_tables(comparison)
    yield from fairness(comparison)
    yield from environment(comparison, provenance)
