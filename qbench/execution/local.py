"""Runs trials in this process, one after the other; Ray is not imported."""

import traceback
from contextlib import closing
from typing import Any, cast

from qbench.execution.jobs import Job, Queue, RunTrial, load
from qbench.store import Failure

__all__ = ["run_here"]


def run_here(queue: Queue, run: str) -> None:
    """Run every job of the queue.

    Args:
        queue: The jobs.
        run: ``module:function`` of what trains a trial.

    Raises:
        KeyboardInterrupt: The user stopped; the running trial is closed and continues next time.
    """
    run_trial = load(run)
    while (job := queue.take()) is not None:
        queue.started(job.trial.name)
        queue.ended(job.trial.name, _run(job, queue, run_trial))


def _run(job: Job, queue: Queue, run_trial: RunTrial) -> Failure | None:
    try:
        with closing(cast(Any, run_trial(job.trial, job.site))) as epochs:
            for values in epochs:
                queue.epoch(job.trial.name, values)
    except (Exception, SystemExit) as error:  # a plug-in that exits ends its trial, not the study
        return Failure("error", f"{type(error).__name__}: {error}", traceback.format_exc())
    return None
