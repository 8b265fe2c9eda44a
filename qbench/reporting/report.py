"""The report of a study in every format, made from its result files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qbench.garbage import no_collection, set_aside
from qbench.reporting.compare import Comparison
from qbench.reporting.cost_table import cost_table
from qbench.reporting.diagnostics_chapter import diagnostics_chapter
from qbench.reporting.difference_tables import difference_tables
from qbench.reporting.document import Figure, Heading, Part, Text, plain
from qbench.reporting.facts import fairness, without_result
from qbench.reporting.figures import (
    COMPARING,
    COSTING,
    DIAGNOSING,
    RANKING,
    TUNING,
    drawn_pairs,
    write_figures,
)
from qbench.reporting.files import drawn, frames_written, parts_written, writing
from qbench.reporting.footnotes import Footnotes
from qbench.reporting.head import environment, head
from qbench.reporting.headline import headline
from qbench.reporting.long import long_results, searched, summary
from qbench.reporting.markdown import render_terminal
from qbench.reporting.published_chapter import published_chapter
from qbench.reporting.ranking_chapter import ranking_chapter
from qbench.reporting.stamp import Report, Stamp
from qbench.reporting.tables import ablation_tables, comparison_tables, detail_table
from qbench.reporting.tuning_chapter import tuning_chapter
from qbench.study.plan import Plan

__all__ = ["Report", "write_report"]

TERMINAL_WIDTH = 4
"""Columns of a table that a terminal shows beside each other."""
CHAPTERS = (COMPARING, RANKING, TUNING, COSTING, DIAGNOSING)

Drawn = Sequence[tuple[str, Figure]]


def write_report(
    plan: Plan,
    results: Path,
    folder: Path,
    formats: Sequence[str],
    provenance: Mapping[str, Any],
) -> Report:
    """Read a study's result files and write its report; the same files give the same bytes.

    Where nothing has changed since the report was made, it is left as it is.

    Args:
        plan: The study's plan; trials without a result are shown with their reason.
        results: The result store.
        folder: Where the report goes; made if it is not there.
        formats: Of those in ``report.formats``. Figures go with all but the data's.
        provenance: Words about the report's origin, printed at its end as they stand.

    Raises:
        UsageError: The study's baseline is no row of it, or the folder cannot be written.
    """
    stamp = Stamp(plan, results, folder, [list(formats), dict(provenance)])
    known = stamp.known()
    if known is not None:
        return known
    with no_collection():  # of the many objects that trials become, none is garbage
        comparison = Comparison(plan, results)
    answer = plain(headline(comparison))
    with writing(folder), set_aside():
        figures: list[Drawn] = [[] for _ in CHAPTERS]
        if drawn(formats):
            figures = [list(write_figures(comparison, folder, kinds)) for kinds in CHAPTERS]
        parts = list(_parts(comparison, answer, figures, provenance))
        frames = {"results": long_results(comparison), "summary": summary(comparison)}
        if plan.attempts:
            frames["tuning"] = searched(comparison)
        written = [
            folder / figure.path.with_suffix(suffix)
            for chapter in figures
            for _, figure in chapter
            for suffix in (".png", ".pdf")
        ]
        written += parts_written(folder, parts, formats, plan.study.study)
        written += frames_written(folder, frames, formats)
    tables = comparison_tables(comparison, Footnotes(plan.cells), TERMINAL_WIDTH)
    damaged = {
        name: f"damaged: {found.message}; delete its folder, and the next run makes it again"
        for name, found in comparison.trials.items()
        if found.state == "damaged"
    }
    report = Report(folder, render_terminal(tables), answer, tuple(sorted(written)), damaged)
    stamp.keep(report)
    return report


def _parts(
    comparison: Comparison, answer: str, figures: Sequence[Drawn], provenance: Mapping[str, Any]
) -> Iterator[Part]:
    comparing, ranking, tuning, costing, diagnosing = figures
    shown = comparison.plan.study.report
    yield from head(comparison, answer)
    yield Heading("Comparison")
    yield from comparison_tables(comparison, Footnotes(comparison.plan.cells))
    yield from difference_tables(comparison)
    yield from (figure for _, figure in comparing)
    shown_pairs, all_pairs = len(drawn_pairs(comparison)), len(comparison.pairs)
    if shown_pairs < all_pairs and comparing:
        yield Text(
            f"Figures show the first {shown_pairs} of {all_pairs} pairs of model and data set; the "
            "tables hold all."
        )
    yield from tuning_chapter(comparison, tuning)
    yield from ranking_chapter(comparison, ranking, all_pairs=shown.pairs == "all")
    yield from published_chapter(comparison, include_recalled=shown.published == "all")
    if comparison.ablations:
        yield Heading("Ablations")
        yield from ablation_tables(comparison)
    yield from diagnostics_chapter(comparison, diagnosing)
    yield from _costs(comparison, costing)
    yield from fairness(comparison)
    yield from without_result(comparison)
    if comparison.settings:
        yield Heading("Details of each setting")
    for number, setting in enumerate(comparison.settings, 1):
        yield detail_table(comparison, setting, f"details-{number}")
    yield from environment(comparison, provenance)


def _costs(comparison: Comparison, figures: Drawn) -> Iterator[Part]:
    tables = [
        table
        for number, setting in enumerate(comparison.settings, 1)
        if (table := cost_table(comparison, setting, f"costs-{number}")) is not None
    ]
    if tables or figures:
        yield Heading("Costs")
        yield from (figure for _, figure in figures)
        yield from tables
