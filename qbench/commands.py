"""What the commands share: arguments, and how a mistake is answered."""

import logging
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from qbench.errors import UsageError
from qbench.storage import results_folder
from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.plan import Plan
from qbench.study.select import parse_shard, select, shard
from qbench.tracking.address import mask_all

__all__ = ["answered", "chosen_plan", "command_line", "with_overrides"]

WRONG, INTERRUPTED = 2, 130


def with_overrides(function: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Decorator: a study file, ``key=value`` overrides and ``--results``."""
    function = click.option(
        "--results", metavar="FOLDER", default="results", show_default=True,
        help="The folder of all result files, such as s3://bucket/folder.",
    )(function)  # fmt: skip
    function = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(function)
    study = click.argument("study", type=click.Path(path_type=Path), required=required)
    return study(function)


def answered(function: Callable[..., int]) -> Callable[..., None]:
    """Decorator: the return value is the exit code; a mistake is one sentence and exit code 2.

    The function is given its ``results`` as the path that the text stands for.
    """

    @wraps(function)
    def wrapped(**arguments: Any) -> None:
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        try:
            if "results" in arguments:
                arguments["results"] = results_folder(arguments["results"])
            code = function(**arguments)
        except UsageError as error:
            click.echo(f"error: {error}", err=True)
            code = WRONG
        except KeyboardInterrupt:
            code = INTERRUPTED
        raise SystemExit(code)

    return wrapped


def chosen_plan(
    study: Path, overrides: tuple[str, ...], only: str | None = None, part: str | None = None
) -> Plan:
    """The plan of a study file, or of the part of it that the options choose."""
    plan = expand(load_study(study, overrides))
    if only is not None:
        plan = select(plan, only)
    if part is None:
        return plan
    if plan.study.tuning is not None:
        raise UsageError(
            "--shard splits no study that is tuned, since parts would wait for each other; run it "
            "as one, on a cluster with --address, or choose rows with --only"
        )
    return shard(plan, *parse_shard(part))


def command_line(study: Path, overrides: tuple[str, ...]) -> str:
    """The command that makes a study's results, for reports; passwords are masked."""
    return mask_all(shlex.join(["python", "-m", "qbench.run", str(study), *overrides]))
