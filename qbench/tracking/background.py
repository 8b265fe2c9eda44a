"""Tracking in a thread of its own, so that a slow store never slows the trials down."""

import importlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qbench.store import Status
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tracking.tracker import Tracker

__all__ = ["BackgroundTracker"]

PAUSE_SECONDS = 10.0  # between looks at the files of one running trial


class BackgroundTracker:
    """A watcher of trials that brings MLflow up to their files.

    One thread does all calls, in order: the store has one writer.
    """

    def __init__(self, plan: Plan) -> None:
        """Start the thread, which begins with the slow import."""
        self._trials = plan.trials()
        self._plan = plan
        self._looked: dict[str, float] = {}
        self._tracker: Tracker | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._thread.submit(importlib.import_module, "qbench.tracking.client")

    def open(self, results: Path, study_file: Path, provenance: dict[str, Any]) -> str:
        """Connect, and catch up with what earlier runs left.

        Returns:
            What to type, and the page to open, to see the runs.

        Raises:
            UsageError: The store cannot be used.
        """
        uri = self._plan.study.tracking.uri
        opened = self._thread.submit(
            Tracker.open, self._plan, uri, results, study_file, provenance
        ).result()
        self._tracker = opened
        self._thread.submit(opened.sync_all, self._trials.values())
        return f"{opened.ui_command()}\n        {opened.ui_page()}"

    def planned(self, plan: Plan, trials: Sequence[Trial]) -> None:
        """Trials of a plan, which may have grown, are to be run."""
        self._plan, self._trials = plan, plan.trials()
        if self._tracker is not None:
            self._thread.submit(self._tracker.learn, plan)

    def started(self, name: str) -> None:
        """A trial starts."""
        if self._tracker is not None:
            self._thread.submit(self._tracker.started, self._trials[name])

    def epoch(self, name: str, values: Mapping[str, float]) -> None:
        """A trial has trained an epoch; its files are looked at now and then."""
        now = time.monotonic()
        if self._tracker is not None and now - self._looked.get(name, now) > PAUSE_SECONDS:
            self._looked[name] = now
            self._thread.submit(self._tracker.sync, self._trials[name])
        self._looked.setdefault(name, now)

    def ended(self, name: str, status: Status) -> None:
        """A trial has ended."""
        if self._tracker is not None:
            self._thread.submit(self._tracker.ended, self._trials[name])

    def close(
        self,
        report: Path | None,
        summary: dict[str, Any],
        headline: str = "",
        *,
        interrupted: bool = False,
    ) -> tuple[str, ...]:
        """Log what is due, and end the study's run; see :meth:`Tracker.close`.

        Returns:
            What the store did not take; the next run of the study logs it.
        """
        pending: tuple[str, ...] = ()
        if self._tracker is not None:
            tracker = self._tracker
            self._thread.submit(
                tracker.close, report, summary, headline, interrupted=interrupted
            ).result()
            pending = tracker.pending
        self._thread.shutdown()
        return pending
