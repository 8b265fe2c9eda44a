"""``python -m qbench.track STUDY``: bring MLflow up to the result files, nothing trained."""

from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from qbench.commands import answered, chosen_plan, command_line, with_overrides
from qbench.errors import UsageError
from qbench.growth import Growth
from qbench.standing import check_begun, look

__all__ = ["command"]

EXAMPLES = """
\b
Examples:
  python -m qbench.track studies/quickstart.yaml
  python -m qbench.track studies/quickstart.yaml tracking.uri=http://127.0.0.1:5000

\b
For a store that was down while the study ran, was lost, or is a new one. A run brings its store up
to date by itself. Exit codes: 0 all is tracked, 2 the command or the study file is wrong, 3 the
store did not take all.
"""
LACKING = 3


@click.command(name="track", epilog=EXAMPLES)
@with_overrides
@answered
def command(study: Path, overrides: tuple[str, ...], results: Path) -> int:
    """Log the result files of a STUDY to MLflow; nothing is trained, and nothing doubled."""
    growth = Growth(chosen_plan(study, overrides), results)
    plan = growth.plan
    if not plan.study.tracking.enabled:
        raise UsageError("tracking.enabled is false; leave it out of the study, or set it to true")
    check_begun(plan, results)
    from qbench.session import Session

    session = Session(
        growth, replace(look(plan, results), to_run=()), study, results, retrack=True,
        command=command_line(study, overrides),
    )  # fmt: skip
    result = session.go(Console(highlight=False, soft_wrap=True))
    click.echo(f"browse: {result.browse}")
    if result.untracked:
        click.echo(f"MLflow lacks {len(result.untracked)} runs: {', '.join(result.untracked)}")
    return LACKING if result.untracked else 0


if __name__ == "__main__":
    command(prog_name="python -m qbench.track")
