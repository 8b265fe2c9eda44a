"""Runs trials as one Ray Tune run, in worker processes that are reused."""

import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray._private.worker import global_worker
from ray.tune.search import Searcher

from qbench.execution.connection import connected
from qbench.execution.environment import environment
from qbench.execution.interrupts import interrupts
from qbench.execution.jobs import Queue
from qbench.execution.worker import Worker
from qbench.remote_path import StorageError
from qbench.storage import remote
from qbench.store import Failure
from qbench.study.schema import Resources

__all__ = ["run_on_ray"]

_AWAY = re.compile(rf"^{StorageError.__module__}\.{StorageError.__name__}: (.*)$", re.M)
_CHARACTERS_OF_LOG = 4000  # the end of what a dead worker wrote


def run_on_ray(
    queue: Queue, results: Path, resources: Resources, address: str | None, run: str
) -> None:
    """Run every job of the queue.

    Args:
        queue: The jobs.
        results: A folder that every node sees; Ray's own files lie in its ``.ray`` meanwhile, or
            in a temporary folder of this machine: the driver alone writes them.
        resources: What each trial asks for.
        address: The cluster; ``None`` starts Ray on this machine.
        run: ``module:function`` of what trains a trial.

    Raises:
        UsageError: See :func:`qbench.execution.connection.connected`.
        StorageError: The results are in an object store, and it is away.
        KeyboardInterrupt: The user stopped; workers and a Ray that was started here are stopped.
    """
    # raised between any two lines of Tune it would leave pieces, so it waits for a step's end
    with connected(resources, address) as slots, interrupts(at_once=False) as interrupted:
        messenger = _Messenger(queue, resources.retries, interrupted)
        while len(queue):  # a second time only where a worker died at the very end
            with _scratch(results) as scratch:
                _fit(queue, scratch, slots, resources, run, messenger)


def _fit(
    queue: Queue,
    scratch: Path,
    slots: int,
    resources: Resources,
    run: str,
    messenger: "_Messenger",
) -> None:
    request = {"cpu": resources.cpus, "gpu": resources.gpus}
    with (
        _storage_errors(),
        environment(TUNE_MAX_PENDING_TRIALS_PG=str(slots)),
    ):  # by default 1: slow to start
        tune.Tuner(
            tune.with_resources(Worker, request),
            tune_config=tune.TuneConfig(
                search_alg=_Feeder(queue, run),
                num_samples=-1,  # until the feeder says that there are no more
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                storage_path=str(scratch),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials do
                callbacks=[messenger],
                verbose=0,
            ),
        ).fit()


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raise them as they are; Tune makes of what a callback raises an error of its own, as text."""
    try:
        yield
    except tune.TuneError as error:
        if away := _AWAY.findall(str(error)):
            raise StorageError(away[-1]) from None
        raise


def _name(trial: Any) -> str:
    return str(trial.config["name"])


class _Feeder(Searcher):  # type: ignore[misc]
    """Hands the queue's jobs to Tune, each when it can start."""

    def __init__(self, queue: Queue, run: str) -> None:
        super().__init__()
        self._queue = queue
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, for a restart that is not used

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        job = self._queue.take()
        if job is not None:
            return {"name": job.trial.name, "job": job.to_json(), "run": self._run}
        return str(Searcher.FINISHED) if self._queue.ended_all else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The messenger tells the queue."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is restored."""


class _Messenger(tune.Callback):  # type: ignore[misc]
    """Tells the queue what happens, and Tune that the user wants to stop.

    A trial whose worker died is queued again here: Tune's own retries count a worker that died
    between two trials twice, and do not retry a trial that was handed to it (2.60).
    """

    def __init__(self, queue: Queue, retries: int, interrupted: threading.Event) -> None:
        self._queue = queue
        self._retries = retries
        self._deaths: dict[str, int] = {}
        self._interrupted = interrupted

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, **info: Any) -> None:
        if self._interrupted.is_set():
            raise KeyboardInterrupt

    def on_trial_start(self, *, trial: Any, **info: Any) -> None:
        self._queue.started(_name(trial))

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._queue.epoch(_name(trial), result["values"])

    def on_trial_complete(self, *, trial: Any, **info: Any) -> None:
        self._queue.ended(_name(trial))

    def on_trial_error(self, *, trial: Any, **info: Any) -> None:
        if away := _AWAY.findall(_details(trial)):  # no fault of the trial, and the same for all
            raise StorageError(away[-1])
        deaths = self._deaths[_name(trial)] = self._deaths.get(_name(trial), 0) + 1
        if self._queue.has_failed(_name(trial)):  # it ran too long, and said so
            self._queue.ended(_name(trial))
        elif deaths > self._retries:
            self._queue.ended(_name(trial), _failure(trial, deaths))
        else:
            self._queue.give_back(_name(trial))


def _details(trial: Any) -> str:
    return Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""


def _failure(trial: Any, deaths: int) -> Failure:
    """Why a worker died, from what Ray and the worker wrote about it."""
    details = _details(trial)
    exits = re.findall(r"Worker exit detail: (.*?)\.?(?: Some common causes|$)", details, re.M)
    reason = exits[-1] if exits else (details.strip().splitlines() or [""])[-1]
    message = f"its worker died {deaths} times; the last time: {reason}"
    logs = Path(global_worker.node.get_logs_dir_path())
    for pid in set(re.findall(r"^\tpid: (\d+)$", details, re.M)):
        for log in logs.glob(f"worker-*-{pid}.err"):  # on another node's disk there is none
            details += log.read_text(encoding="utf-8", errors="replace")[-_CHARACTERS_OF_LOG:]
    if "running low on memory" in details:
        return Failure("out of memory", message, details)
    return Failure("error", message, details)


@contextmanager
def _scratch(results: Path) -> Iterator[Path]:
    """A folder for Ray's files, gone afterwards."""
    if remote(results) is not None:
        with tempfile.TemporaryDirectory(prefix="qbench-ray-") as name:
            yield Path(name)
        return
    parent = Path(results).absolute() / ".ray"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another run of the same results is using it
            parent.rmdir()
