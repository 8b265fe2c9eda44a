"""What is run, in which order, and what became of it; the same for Ray and for this process."""

import importlib
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from pydantic import TypeAdapter

from qbench.remote_path import StorageError
from qbench.store import Failure, Status, TrialFolder
from qbench.study.trial import Trial
from qbench.training.site import Site

__all__ = ["Job", "More", "Outcome", "Queue", "Values", "Watcher", "run_job"]

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
    study. Only the user's stop gets through, and the exit of a worker that Ray or its machine
    terminates: the trial goes on from its checkpoint.

    Args:
        job: What to train, and where.
        run: ``module:function``, imported here; the function takes a trial and a site, writes the
            trial's files, and yields after each epoch.
    """
    try:
        module, _, function = run.partition(":")
        train = cast(_Train, getattr(importlib.import_module(module), function))
        yield from train(job.trial, job.site)
    except StorageError:
        raise
    except (Exception, SystemExit) as error:
        if hasattr(error, "ray_terminate_msg"):  # how Ray marks the exit of a worker
            raise
        message = f"{type(error).__name__}: {error}"
        failure = Failure("error", message, traceback.format_exc())
        TrialFolder(job.site.results, job.trial.name).fail(failure)


_Train = Callable[[Trial, Site], Generator[Values, None, None]]


More = Callable[[str], Iterable[Job]]


class Queue:
    """Hands out jobs, each once the trial that it needs is done, and keeps what became of them."""

    def __init__(self, jobs: Sequence[Job], watcher: Watcher, more: More = lambda name: ()) -> None:
        """Queue jobs in their order; a trial that stands there twice is run once.

        Args:
            jobs: What is known from the start.
            watcher: Is told what happens.
            more: Is asked after each trial's end what is to be run because of it.
        """
        self._waiting = {job.trial.name: job for job in jobs}
        self._more = more
        self._running: dict[str, Job] = {}
        self._names: dict[str, list[str]] = {"done": [], "failed": [], "waiting": []}
        self._watcher = watcher

    def __len__(self) -> int:
        """How many jobs are not yet handed out."""
        return len(self._waiting)

    @property
    def ended_all(self) -> bool:
        """Whether no job is left, and none runs whose end may bring another one."""
        return not self._waiting and not self._running

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
        if status != "done" and failure is not None:
            folder.fail(failure)
        elif status not in ("done", "failed"):
            folder.fail(Failure("error", "the trial ended without a result"))
        status = folder.status()
        self._names["done" if status == "done" else "failed"].append(job.trial.name)
        self._watcher.ended(job.trial.name, status)
        self._waiting |= {one.trial.name: one for one in self._more(job.trial.name)}

    def outcome(self) -> Outcome:
        """What became of the jobs so far."""
        return Outcome(**{kind: tuple(names) for kind, names in self._names.items()})
