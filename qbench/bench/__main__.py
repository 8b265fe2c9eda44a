"""``python -m qbench.bench [SUITE]...``: measure, and write the numbers and their page."""

import importlib
import json
import os
import shlex
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from qbench.bench.outcome import Outcome, Record, Setting, write_record
from qbench.errors import UsageError, unknown
from qbench.storage import check_writable

__all__ = ["SUITES", "command"]

SUITES = ("counters", "step", "paper_style", "input", "harness", "scaling", "limits", "gpu")
ON_DEVICE = ("step", "paper_style", "input", "limits")
"""Suites that another device than the CPU can run."""
EXAMPLES = """
\b
Examples:
  python -m qbench.bench                   all suites of a CPU, half an hour on a quiet machine
  python -m qbench.bench step limits       two of them
  python -m qbench.bench gpu               everything on a GPU, less than eight minutes
  python -m qbench.bench --quick           tiny sizes: does everything run?

\b
The page README.md beside the numbers collects all suites that the folder holds.
"""


@click.command(name="bench", epilog=EXAMPLES)
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default="reports/bench",
    show_default=True, help="The folder of the numbers and their page.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--quick", is_flag=True, help="Tiny sizes, for trying; the numbers say nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on standard output.")
def command(suites: tuple[str, ...], output: Path, device: str, quick: bool, as_json: bool) -> None:
    """Measure the SUITES: counters, step, paper_style, input, harness, scaling, limits, gpu."""
    try:
        records = _measure_all(_chosen(suites, device), output, Setting(device, quick))
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=1))


def _measure_all(chosen: tuple[str, ...], output: Path, setting: Setting) -> list[Record]:
    from qbench.bench.page import write_page

    check_writable(output, "--output")  # what was measured for minutes is not to be lost at its end
    records = []
    for suite in chosen:
        click.echo(f"{suite} …", err=True)
        own = Setting(_device(suite, setting.device), setting.quick)
        record = _measured(suite, own)
        path = write_record(record, output)
        click.echo(f"{suite}: {path}, {write_page(output, SUITES)}", err=True)
        records.append(record)
    return records


def _chosen(suites: tuple[str, ...], device: str) -> tuple[str, ...]:
    for suite in suites:
        if suite not in SUITES:
            raise UsageError(unknown("suite", suite, SUITES))
        if device != "cpu" and suite not in (*ON_DEVICE, "gpu"):
            raise UsageError(
                f"the suite '{suite}' measures the CPU; leave --device out, or choose of "
                f"{', '.join((*ON_DEVICE, 'gpu'))}"
            )
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda needs a CUDA device, and torch finds none")
        return suites or ("gpu",)
    return suites or SUITES[:-1]


def _device(suite: str, device: str) -> str:
    import torch

    return "cuda" if suite == "gpu" and torch.cuda.is_available() else device


def _measured(suite: str, setting: Setting) -> Record:
    import torch

    from qbench.training.environment import describe_environment

    torch.set_num_threads(1)
    load, started = os.getloadavg(), time.time()
    outcome: Outcome = importlib.import_module(f"qbench.bench.{suite}").run(setting)
    facts = describe_environment(setting.device, 1, started, time.time(), "")
    machine = dict(facts["machine"], device=facts["device"])  # type: ignore[call-overload]
    del machine["host"]
    return Record(
        suite=suite,
        command=shlex.join(["python", "-m", "qbench.bench", suite, *_options(suite, setting)]),
        date=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        quick=setting.quick,
        device=setting.device,
        load=load,
        commit=str(facts["commit"]),
        machine=machine,
        versions=facts["versions"],  # type: ignore[arg-type]
        outcome=outcome,
    )


def _options(suite: str, setting: Setting) -> list[str]:
    device = ["--device", setting.device] if setting.device != "cpu" and suite in ON_DEVICE else []
    return [*device, *(["--quick"] if setting.quick else [])]


if __name__ == "__main__":
    command(prog_name="python -m qbench.bench")
