"""Runs trials in this process, one after the other; Ray is not imported."""

from contextlib import closing

from qbench.execution.interrupts import interrupts
from qbench.execution.jobs import Queue, run_job, unwritable

__all__ = ["run_here"]


def run_here(queue: Queue, run: str) -> None:
    """Run every job of the queue.

    Args:
        queue: The jobs.
        run: ``module:function`` of what trains a trial.

    Raises:
        KeyboardInterrupt: The user stopped; the running trial is closed and continues next time.
        UsageError: The trials' files cannot be written any more.
    """
    with interrupts(at_once=True) as interrupted:
        while (job := queue.take()) is not None:
            name = job.trial.name
            queue.started(name)
            try:
                with closing(run_job(job, run)) as epochs:
                    for values in epochs:
                        queue.epoch(name, values)
                        if interrupted.is_set():
                            raise KeyboardInterrupt
            except OSError as error:
                raise unwritable(job.site.results, str(error)) from None
            queue.ended(name)
