"""What is run, in which order, and what became of it; the same for Ray and for this process."""

import importlib
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from pydantic import TypeAdapter

from qbench.errors import UsageError
from qbench.store import Failure, Status, TrialFolder, is_full
from qbench.study.trial import Trial
from qbench.training.site import Site

__all__ = ["Job", "Outcome", "Queue", "Values", "Watcher", "run_job", "unwritable"]

Values = dict[str, float | int]
"""What a trial says after an epoch."""


@dataclass(frozen=True)
class Job:
    """A trial and where it runs."""

    trial: Trial
    site: Site

    def to_json(self) -> str:
        """As text, for another process."""
        return _JOBS.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> "Job":
        """The job that :meth:`to_json` wrote."""
        return _JOBS.validate_json(text)


_JOBS = TypeAdapter(Job)


class Watcher(Protocol):
    """Is told, in the driver's main thread, what happens to trials."""

    def started(self, name: str) -> None:
        """A trial starts, or starts again after its worker died."""

    def epoch(self, name: str, values: Values) -> None:
        """A trial has trained an epoch; where epochs are short, not each is told."""

    def ended(self, name: str, status: Status) -> None:
        """A trial has ended, as its files say."""


@dataclass(frozen=True)
class Outcome:
    """The names of trials by what became of them."""

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Not run, because the trial that they start from is neither done nor part of this run."""


def run_job(job: Job, run: str) -> Generator[Values, None, None]:
    """Train a trial; nothing starts before the first value is asked for.

    What ``run`` raises is recorded, and so is a plug-in that exits: it ends its trial, not the
    study. Only the user's stop gets through, the exit of a worker that Ray or its machine
    terminates (the trial goes on from its checkpoint), and a folder that takes no record. Where
    another process trains the same trial, it is waited for, and what it finished is not repeated.

    Args:
        job: What to train, and where.
        run: ``module:function``, imported here; the function takes a trial and a site, writes the
            trial's files, and yields after each epoch.

    Raises:
        OSError: The trial's files cannot be written; see :func:`unwritable`.
    """
    folder = TrialFolder(job.site.results, job.trial.name)
    try:
        module, _, function = run.partition(":")
        train = cast(_Train, getattr(importlib.import_module(module), function))
        with folder.locked():
            if folder.status() != "done":
                yield from train(job.trial, job.site)
    except (Exception, SystemExit) as error:
        # Ray marks the exit of a worker so
        if hasattr(error, "ray_terminate_msg") or is_full(error):
            raise
        message = f"{type(error).__name__}: {error}"
        failure = Failure("error", message, traceback.format_exc())
        folder.fail(failure)


def unwritable(results: Path, reason: str) -> UsageError:
    """What a user is told where the files of trials cannot be written any more."""
    return UsageError(
        f"the results folder '{results}' takes no more files ({reason}); make room, or let it be "
        "written, and the same command continues"
    )


_Train = Callable[[Trial, Site], Generator[Values, None, None]]


class Queue:
    """Hands out jobs, each once the trial that it needs is done, and keeps what became of them."""

    def __init__(self, jobs: Sequence[Job], watcher: Watcher) -> None:
        """Queue jobs in their order; a trial that stands there twice is run once."""
        self._waiting = {job.trial.name: job for job in jobs}
        self._running: dict[str, Job] = {}
        self._names: dict[str, list[str]] = {"done": [], "failed": [], "waiting": []}
        self._watcher = watcher

    def __len__(self) -> int:
        """How many jobs are not yet handed out."""
        return len(self._waiting)

    def take(self) -> Job | None:
        """The next job that can start now.

        Returns:
            Nothing when the jobs left wait for running ones, or when none is left.
        """
        while True:
            ready = (job for job in self._waiting.values() if not self._is_ahead(job.trial.needs))
            job = next(ready, None)
            if job is None:
                return None
            del self._waiting[job.trial.name]
            if self._can_start(job):
                self._running[job.trial.name] = job
                return job

    def _is_ahead(self, name: str | None) -> bool:
        return name in self._waiting or name in self._running

    def _can_start(self, job: Job) -> bool:
        needs = job.trial.needs
        if needs is None:
            return True
        status = TrialFolder(job.site.results, needs).status()
        if status == "failed":
            reason = f"the trial that it starts from, {needs}, failed"
            self._record(job, Failure("start failed", reason))
        elif status != "done":
            self._names["waiting"].append(job.trial.name)
        return status == "done"

    def give_back(self, name: str) -> None:
        """Queue a job again whose worker died; it continues from its last checkpoint."""
        self._waiting[name] = self._running.pop(name)

    def has_failed(self, name: str) -> bool:
        """Whether a job that was handed out has recorded that it failed."""
        return TrialFolder(self._running[name].site.results, name).status() == "failed"

    def started(self, name: str) -> None:
        """Tell the watcher that a job starts."""
        self._watcher.started(name)

    def epoch(self, name: str, values: Values) -> None:
        """Tell the watcher what a job said, if it said anything."""
        if values:
            self._watcher.epoch(name, values)

    def ended(self, name: str, failure: Failure | None = None) -> None:
        """Keep what became of a job that was handed out.

        Args:
            name: The trial.
            failure: Why its process ended, where the trial could not record that itself.
        """
        self._record(self._running.pop(name), failure)

    def _record(self, job: Job, failure: Failure | None) -> None:
        folder = TrialFolder(job.site.results, job.trial.name)
        status = folder.status()
        if status != "failed" and failure is None:
            failure = Failure("error", "the trial ended without a result")
        if status != "done" and failure is not None:
            try:
                folder.fail(failure)
            except OSError as error:
                raise unwritable(job.site.results, str(error)) from None
        status = folder.status()
        self._names["done" if status == "done" else "failed"].append(job.trial.name)
        self._watcher.ended(job.trial.name, status)

    def outcome(self) -> Outcome:
        """What became of the jobs so far."""
        return Outcome(**{kind: tuple(names) for kind, names in self._names.items()})
