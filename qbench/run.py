"""``python -m qbench.run STUDY``: read arguments, call, print."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from qbench.commands import answered, chosen_plan, command_line, with_overrides
from qbench.growth import Growth
from qbench.planning import describe_plan, other_code_line, plan_lines, standing_line
from qbench.standing import look

__all__ = ["command"]

EXAMPLES = """
\b
Examples:
  python -m qbench.run studies/quickstart.yaml
  python -m qbench.run studies/quickstart.yaml --plan
  python -m qbench.run studies/bnn_cifar100.yaml data.root=/data training.epochs=1
  python -m qbench.run studies/bnn_cifar100.yaml --only "quantizer == 'ste' and seed == 0"
  python -m qbench.run studies/bnn_cifar100.yaml --shard 2/8 --results /shared/results

\b
The same command again runs what is missing. Exit codes: 0 all trials are done, 2 the command or
the study file is wrong, 3 some trials failed, 130 interrupted.
"""


@click.command(name="run", epilog=EXAMPLES)
@with_overrides
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be run; run nothing.")
@click.option("--only", metavar="EXPRESSION", help="Run the trials for which this holds.")
@click.option("--shard", "part", metavar="I/N", help="Run the I-th of N parts, from 1.")
@click.option("--retry-failed", is_flag=True, help="Run failed trials again.")
@click.option("--fresh", is_flag=True, help="Run all chosen trials again, done or not.")
@click.option("--local", is_flag=True, help="Run in this process, one after the other, no Ray.")
@click.option("--address", metavar="HOST:PORT", help="A running Ray cluster, or 'auto'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@answered
def command(
    study: Path,
    overrides: tuple[str, ...],
    results: Path,
    plan_only: bool,
    only: str | None,
    part: str | None,
    retry_failed: bool,
    fresh: bool,
    local: bool,
    address: str | None,
    as_json: bool,
) -> int:
    """Run a STUDY file; KEY=VALUE changes any of its settings."""
    growth = Growth(chosen_plan(study, overrides, only, part), results, fresh=fresh)
    plan = growth.plan
    standing = look(plan, results, retry_failed=retry_failed, fresh=fresh)
    facts = describe_plan(plan, standing, results)
    if plan_only:
        click.echo(json.dumps(facts) if as_json else "\n".join(plan_lines(facts, results)))
        return 0
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    console.print(standing_line(facts), markup=False)
    if standing.other_code:
        console.print(other_code_line(list(standing.other_code)), markup=False)
    from qbench.session import Session

    session = Session(
        growth,
        standing,
        study,
        results,
        address=address,
        local=local,
        fresh=fresh,
        command=command_line(study, overrides),
        part=part or "",
    )
    try:
        result = session.go(console)
    except KeyboardInterrupt:
        done = list(session.statuses().values()).count("done")
        count = len(session.plan.trials()) + session.plan.open
        console.print(f"stopped: {done} of {count} trials are done; the same command continues")
        raise
    if as_json:
        click.echo(json.dumps(asdict(result)))
    else:
        click.echo("\n".join(result.lines()))
    return 3 if result.failed else 0


if __name__ == "__main__":
    command(prog_name="python -m qbench.run")
