"""The Markdown page that collects all suites of a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tabulate import tabulate

from qbench.bench.goals import goal_table
from qbench.bench.outcome import Cell, Record, Table, read_records

__all__ = ["write_page"]

MISSING = "not measured yet"
HEAD = """\
# Bench

Ratios are minimum over minimum of interleaved rounds; beside them stands the A/A ratio, what the
same arm gives when it is timed twice. Seconds on a CPU are processor seconds. `docs/bench.md` says
what each suite measures.
"""


def write_page(folder: Path, suites: Sequence[str]) -> Path:
    """Write ``README.md`` from the records in ``folder``.

    Args:
        folder: Where the records lie.
        suites: All suites in their order; those without a record are named as not measured.
    """
    records = read_records(folder, suites)
    parts = [HEAD, _table(goal_table(records))]
    for suite in suites:
        own = [record for record in records if record.suite == suite]
        parts += [_section(record) for record in own]
        if not own:
            parts.append(f"## {suite}\n\n{MISSING}: `python -m qbench.bench {suite}`\n")
    path = folder / "README.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _section(record: Record) -> str:
    machine, versions = record.machine, record.versions
    load = ", ".join(f"{value:.1f}" for value in record.load)
    facts = (
        f"`{record.command}`\n\n"
        f"{record.date}, commit {record.commit}, device {record.device}, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"torch {versions.get('torch', 'unknown')}; load average before: {load}.\n"
    )
    title = record.suite if record.stem == record.suite else f"{record.suite} on {record.device}"
    warning = "\n**Tiny sizes (`--quick`): the numbers say nothing.**\n" if record.quick else ""
    tables = "\n".join(_table(table) for table in record.outcome.tables)
    return f"## {title}\n\n{facts}{warning}\n{tables}"


def _table(table: Table) -> str:
    rows = [[_text(cell) for cell in row] for row in table.rows]
    text = cast(str, tabulate(rows, table.columns, tablefmt="github", disable_numparse=True))
    note = f"\n{table.note}\n" if table.note else ""
    return f"### {table.title}\n\n{text}\n{note}"


def _text(cell: Cell) -> str:
    if cell is None:
        return MISSING
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 10_000 else f"{cell:.4g}"
