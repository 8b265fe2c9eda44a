"""One run of a study: prepare, train what is missing, track, report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from qbench.console import Progressing
from qbench.errors import UsageError
from qbench.execution.execute import check, execute
from qbench.execution.jobs import Job, Values, Watcher
from qbench.growth import Growth
from qbench.only_run import only_run
from qbench.provenance import provenance
from qbench.remembered import Remembered
from qbench.result import Result
from qbench.standing import Standing
from qbench.storage import snapshot
from qbench.store import DECIDING, Status, TrialFolder
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tracking.address import check_reachable, default_uri
from qbench.tracking.background import BackgroundTracker
from qbench.training.site import Site

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """What a run of a study needs to know."""

    growth: Growth
    standing: Standing
    study_file: Path
    results: Path
    address: str | None = None
    local: bool = False
    fresh: bool = False
    command: str = ""
    """What the user typed, without the options that change no result."""
    part: str = ""
    """The shard, so that parts of one study may run at once."""
    retrack: bool = False
    """Look at the tracking store even where the last run left nothing to be logged."""

    @property
    def plan(self) -> Plan:
        """The plan as it is known now."""
        return self.growth.plan

    def go(self, console: Console) -> Result:
        """Train what is to be trained, track it, and write the report.

        Args:
            console: Where a user is told how far it is.

        Raises:
            UsageError: Something that the user can mend, before anything is trained.
            KeyboardInterrupt: The user stopped; the same command continues.
        """
        if self.standing.to_run:
            self._check_parts()
            check(self.plan.study.resources, local=self.local, address=self.address)
        with only_run(self.results, self._remembered.path("lock"), self.plan.study.study):
            self._remembered.keep_study(self.plan)
            tracking = self.plan.study.tracking
            if tracking.enabled and not self._remembered.tracked(tracking.uri):
                check_reachable(tracking.uri or default_uri(self.results.resolve()))
            images = self._prepare_data()
            tracker, browse = self._open_tracker(images)
            try:
                if self.standing.to_run:
                    self._train(images, console, tracker)
            except BaseException as error:
                if tracker is not None:
                    tracker.close(None, {}, interrupted=isinstance(error, KeyboardInterrupt))
                raise
            return self._finish(tracker, browse)

    def statuses(self) -> dict[str, Status]:
        """What the files say of each trial of the plan."""
        results = snapshot(self.results, DECIDING)
        return {name: TrialFolder(results, name).status() for name in self.plan.trials()}

    @property
    def _processes(self) -> int:
        return max(int(self.plan.study.resources.gpus), 1)

    def _check_parts(self) -> None:
        """Refuse batches that are smaller than the number of GPUs among which they are shared out.

        Raises:
            UsageError: Of some trial.
        """
        smallest = min(trial.training.batch for trial in self.standing.to_run)
        if smallest < self._processes:
            raise UsageError(
                f"resources.gpus is {self._processes}, but batches of a trial have {smallest} "
                f"images; make training.batch larger, or set resources.gpus to at most {smallest}"
            )

    @property
    def _remembered(self) -> Remembered:
        return Remembered(self.results, self.plan.study.study, self.part)

    def _prepare_data(self) -> dict[str, Path]:
        needed = {_data_key(trial): trial.data for trial in self.standing.to_run}
        if not needed:
            return {}
        from qbench.datasets.prepare import prepare

        data = self.plan.study.data
        root = Path(data.root).expanduser()
        cache = Path(data.cache).expanduser() if data.cache else root / ".qbench"
        return {key: prepare(trial_data, root, cache) for key, trial_data in needed.items()}

    def _open_tracker(self, images: dict[str, Path]) -> tuple[BackgroundTracker | None, str]:
        tracking = self.plan.study.tracking
        if not tracking.enabled:
            return None, ""
        tracked = self._remembered.tracked(tracking.uri)
        browse = str(tracked.get("browse"))
        same = tracked.get("trials") == self.statuses()
        if same and not self.retrack:
            return None, browse  # nothing is new, and mlflow's import is slow
        tracker = BackgroundTracker(self.plan)
        facts = provenance(self.study_file, images.values(), self._device)
        try:
            wait = bool(tracked) and not self.retrack  # it was there: it may be away for a while
            browse = tracker.open(self.results, self.study_file, facts, wait=wait) or browse
        except BaseException:
            tracker.close(None, {})
            raise
        self._remembered.keep_tracked(tracking.uri, browse)
        return tracker, browse

    @property
    def _device(self) -> str:
        return "cuda" if self.plan.study.resources.gpus else "cpu"

    def _train(
        self, images: dict[str, Path], console: Console, tracker: BackgroundTracker | None
    ) -> None:
        if self.fresh:
            for trial in self.standing.to_run:
                TrialFolder(self.results, trial.name).clear()
        view = Progressing(console, live=console.is_terminal)
        observer = _All((view,) if tracker is None else (view, tracker))

        def announced(trials: Sequence[Trial]) -> list[Job]:
            if trials:
                observer.planned(self.plan, trials)
            return self._jobs(trials, images)

        with view:
            execute(
                announced(self.standing.to_run),
                self.plan.study.resources,
                observer,
                local=self.local,
                address=self.address,
                more=lambda name: announced(self._new(name)),
            )

    def _new(self, name: str) -> list[Trial]:
        """What is to be run because a trial has ended."""
        trials = self.growth.more(name)
        if self.fresh:
            for trial in trials:
                TrialFolder(self.results, trial.name).clear()
        return trials

    def _jobs(self, trials: Sequence[Trial], images: dict[str, Path]) -> list[Job]:
        study = self.plan.study
        start = Path(study.start).resolve() if study.start not in ("scratch", "float") else None
        return [
            Job(
                trial,
                Site(
                    results=self.results.resolve(),
                    images=images[_data_key(trial)],
                    device=self._device,
                    threads=max(study.resources.cpus // self._processes, 1),
                    checkpoint_seconds=study.resources.checkpoint_seconds,
                    timeout_minutes=study.resources.timeout_minutes,
                    plugins=study.plugins,
                    start_file=start if trial.start.startswith("file:") else None,
                    processes=self._processes,
                ),
            )
            for trial in trials
        ]

    def _finish(self, tracker: BackgroundTracker | None, browse: str) -> Result:
        from qbench.reporting.report import write_report  # pandas and seaborn are slow to import

        study = self.plan.study
        folder = Path(study.report.output) / study.study
        report = write_report(
            self.plan, self.results, folder, study.report.formats, {"command": self.command}
        )
        statuses = self.statuses()
        failed = {
            n: _reason(TrialFolder(self.results, n)) for n, s in statuses.items() if s == "failed"
        }
        counts = {status: list(statuses.values()).count(status) for status in ("done", "failed")}
        counts["done"] -= sum(statuses[name] == "done" for name in report.damaged)
        failed |= report.damaged
        untracked: tuple[str, ...] = ()
        if tracker is not None:
            summary = {f"trials/{name}": n for name, n in counts.items()}
            untracked = tracker.close(folder, summary, report.headline)
            if not untracked:
                self._remembered.keep_tracked(study.tracking.uri, browse, statuses)
        return Result(
            study=study.study,
            done=counts["done"],
            failed=failed,
            missing=len(statuses) - counts["done"] - len(failed),
            table=report.table_text,
            headline=report.headline,
            report=str(folder),
            browse=browse,
            untracked=untracked,
        )


class _Observer(Watcher, Protocol):
    """A watcher that is also told what is going to run."""

    def planned(self, plan: Plan, trials: Sequence[Trial]) -> None:
        """Trials of a plan are to be run, beside those that were told before."""


class _All:
    """Tells the view and the tracker."""

    def __init__(self, observers: Sequence[_Observer]) -> None:
        self.observers = observers

    def planned(self, plan: Plan, trials: Sequence[Trial]) -> None:
        for observer in self.observers:
            observer.planned(plan, trials)

    def started(self, name: str) -> None:
        for observer in self.observers:
            observer.started(name)

    def epoch(self, name: str, values: Values) -> None:
        for observer in self.observers:
            observer.epoch(name, values)

    def ended(self, name: str, status: Status) -> None:
        for observer in self.observers:
            observer.ended(name, status)


def _data_key(trial: Trial) -> str:
    return f"{trial.data.name} {json.dumps(trial.data.options, sort_keys=True)}"


def _reason(folder: TrialFolder) -> str:
    failure = folder.failure()
    return "unknown" if failure is None else f"{failure.reason}: {failure.message}"
