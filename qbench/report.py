"""``python -m qbench.report STUDY``: tables and figures again, nothing trained."""

import json
from pathlib import Path

import click

from qbench.commands import answered, chosen_plan, command_line, with_overrides

__all__ = ["command"]

EXAMPLES = """
\b
Examples:
  python -m qbench.report studies/quickstart.yaml
  python -m qbench.report studies/quickstart.yaml --results /shared/results --output /tmp/tables
"""


@click.command(name="report", epilog=EXAMPLES)
@with_overrides
@click.option(
    "--output", type=click.Path(path_type=Path), help="The folder of reports; see report.output."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@answered
def command(
    study: Path, overrides: tuple[str, ...], results: Path, output: Path | None, as_json: bool
) -> int:
    """Write the report of a STUDY file from its result files; nothing is trained."""
    plan = chosen_plan(study, overrides)
    folder = (output or Path(plan.study.report.output)) / plan.study.study
    from qbench.reporting.report import write_report

    report = write_report(
        plan,
        results,
        folder,
        plan.study.report.formats,
        {"command": command_line(study, overrides)},
    )
    if as_json:
        files = [str(file) for file in report.files]
        click.echo(json.dumps({"headline": report.headline, "files": files}))
    else:
        click.echo(f"{report.table_text}\n\n{report.headline}\n\nreport: {folder}")
    return 0


if __name__ == "__main__":
    command(prog_name="python -m qbench.report")
