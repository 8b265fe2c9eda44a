"""``python -m qbench.report STUDY``: tables and figures again, nothing trained."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from qbench.commands import answered, chosen_plan, command_line, with_overrides
from qbench.errors import UsageError
from qbench.growth import Growth
from qbench.standing import check_begun
from qbench.study.plan import Plan
from qbench.study.views import Format

if TYPE_CHECKING:
    from qbench.reporting.stamp import Report

__all__ = ["command"]

EXAMPLES = """
\b
Examples:
  python -m qbench.report studies/quickstart.yaml
  python -m qbench.report studies/quickstart.yaml --format html --output /tmp/tables
  python -m qbench.report studies/quickstart.yaml --rows quantizer --columns bits,seed
  python -m qbench.report studies/why.yaml --rows quantizer --columns bits --metric train/loss
  python -m qbench.report --compare studies/one.yaml studies/other.yaml
"""


@click.command(name="report", epilog=EXAMPLES)
@partial(with_overrides, required=False)
@click.option(
    "--output", type=click.Path(path_type=Path), help="The folder of reports; see report.output."
)
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(get_args(Format)),
    help="Write this format only; may be given several times.",
)  # fmt: skip
@click.option(
    "--compare", nargs=2, type=click.Path(path_type=Path), metavar="STUDY STUDY",
    help="Two studies side by side, in place of one STUDY.",
)  # fmt: skip
@click.option("--rows", metavar="AXES", help="One table alone: its rows, such as quantizer,bits.")
@click.option("--columns", metavar="AXES", help="And its columns, such as model,data or seed.")
@click.option("--metric", help="And its numbers: a name in results.csv; test/accuracy by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@answered
def command(
    study: Path | None,
    overrides: tuple[str, ...],
    results: Path,
    output: Path | None,
    formats: tuple[Format, ...],
    compare: tuple[Path, Path] | None,
    rows: str | None,
    columns: str | None,
    metric: str | None,
    as_json: bool,
) -> int:
    """Write the report of a STUDY file from its result files; nothing is trained."""
    pivoted = any(one is not None for one in (rows, columns, metric))
    if compare is not None:
        report = _side_by_side(compare, study, overrides, results, output, formats, pivoted)
    elif study is None:
        raise UsageError("no study file is named; give one, or two after --compare")
    else:
        plan = _begun(study, overrides, results)
        chosen = formats or plan.study.report.formats
        folder = (output or Path(plan.study.report.output)) / plan.study.study
        if pivoted:
            from qbench.reporting.pivot import write_pivot

            axes = _axes(rows, "quantizer"), _axes(columns, "model,data,bits")
            report = write_pivot(plan, results, folder, chosen, *axes, metric)
        else:
            from qbench.reporting.report import write_report

            told = {"command": command_line(study, overrides)}
            report = write_report(plan, results, folder, chosen, told)
    _print(report, as_json=as_json)
    return 0


def _begun(study: Path, overrides: tuple[str, ...], results: Path) -> Plan:
    plan = Growth(chosen_plan(study, overrides), results).plan
    check_begun(plan, results)
    return plan


def _axes(text: str | None, default: str) -> list[str]:
    return [axis.strip() for axis in (default if text is None else text).split(",") if axis.strip()]


def _side_by_side(
    files: tuple[Path, Path],
    study: Path | None,
    overrides: tuple[str, ...],
    results: Path,
    output: Path | None,
    formats: tuple[Format, ...],
    pivoted: bool,
) -> "Report":
    if study is not None and "=" in str(study):
        overrides = (str(study), *overrides)
    elif study is not None:
        raise UsageError(f"--compare takes two study files, and '{study}' is a third; leave it out")
    if pivoted:
        raise UsageError("--rows, --columns and --metric are of one study; leave out --compare")
    first, second = (_begun(file, overrides, results) for file in files)
    from qbench.reporting.side_by_side import write_side_by_side

    folder = output or Path(first.study.report.output)
    return write_side_by_side(
        (first, second),
        results,
        folder / f"{first.study.study}--{second.study.study}",
        formats or first.study.report.formats,
    )


def _print(report: "Report", *, as_json: bool) -> None:
    if as_json:
        files = [str(file) for file in report.files]
        click.echo(json.dumps({"headline": report.headline, "files": files}))
    else:
        lines = [report.table_text, *filter(None, [report.headline]), f"report: {report.folder}"]
        click.echo("\n\n".join(lines))


if __name__ == "__main__":
    command(prog_name="python -m qbench.report")
