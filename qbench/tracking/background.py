"""Tracking in a thread of its own, so that a slow store never slows the trials down."""

import importlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from qbench.errors import UsageError
from qbench.store import Status, TrialFolder
from qbench.study.plan import Plan
from qbench.tracking.tracker import STUDY, Tracker

__all__ = ["BackgroundTracker"]

PAUSE_SECONDS = 10.0  # between looks at the files of one running trial
AWAY_SECONDS = 30.0  # between attempts to open a store that is away
log = logging.getLogger(__name__)


class BackgroundTracker:
    """A watcher of trials that brings MLflow up to their files.

    One thread does all calls, in order: the store has one writer.
    """

    def __init__(self, plan: Plan) -> None:
        """Start the thread, which begins with the slow import."""
        self._trials = plan.trials()
        self._plan = plan
        self._results = Path()
        self._looked: dict[str, float] = {}
        self._running: dict[str, None] = {}
        self._opening: Callable[[], Tracker] | None = None
        self._tracker: Tracker | None = None
        self._away_until = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._thread.submit(importlib.import_module, "qbench.tracking.client")

    def open(
        self, results: Path, study_file: Path, provenance: dict[str, Any], *, wait: bool = False
    ) -> str:
        """Connect, and catch up with what earlier runs left.

        Args:
            results: The result store.
            study_file: The study as the user wrote it.
            provenance: See :meth:`Tracker.open`.
            wait: Warn of a store that cannot be used, and try again later.

        Returns:
            What to type, and the page to open, to see the runs; empty while the store is away.

        Raises:
            UsageError: The store cannot be used.
        """
        uri = self._plan.study.tracking.uri
        self._results = results
        self._opening = partial(Tracker.open, self._plan, uri, results, study_file, provenance)
        try:
            opened = self._thread.submit(self._opening).result()
        except UsageError as error:
            if not wait:
                self._opening = None
                raise
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning("%s; meanwhile the study goes on, and MLflow is tried again", error)
            return ""
        self._tracker = opened
        self._thread.submit(opened.sync_all, self._trials.values())
        return f"{opened.ui_command()}\n        {opened.ui_page()}"

    def started(self, name: str) -> None:
        """A trial starts."""
        self._running[name] = None
        self._tell(Tracker.started, name)

    def epoch(self, name: str, values: Mapping[str, float]) -> None:
        """A trial has trained an epoch; its files are looked at now and then."""
        now = time.monotonic()
        if now - self._looked.get(name, now) > PAUSE_SECONDS:
            self._looked[name] = now
            self._tell(Tracker.sync, name)
        self._looked.setdefault(name, now)

    def ended(self, name: str, status: Status) -> None:
        """A trial has ended."""
        self._running.pop(name, None)
        self._tell(Tracker.ended, name)

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
        if self._opening is not None:
            self._running.clear()
            self._away_until = 0.0
            tracker = self._thread.submit(self._reached).result()
            if tracker is None:
                pending = (*self._with_files(), STUDY)
            else:
                self._thread.submit(
                    tracker.close, report, summary, headline, interrupted=interrupted
                ).result()
                pending = tracker.pending
        self._thread.shutdown()
        return pending

    def _tell(self, what: Callable[..., None], name: str) -> None:
        if self._opening is not None:
            self._thread.submit(self._told, what, name)

    def _told(self, what: Callable[..., None], name: str) -> None:
        tracker = self._reached()
        if tracker is not None:
            what(tracker, self._trials[name])

    def _reached(self) -> Tracker | None:
        """The tracker; where its store was away and answers again, up to date."""
        if self._tracker is None and self._opening and time.monotonic() >= self._away_until:
            try:
                self._tracker = self._opening()
            except UsageError:
                self._away_until = time.monotonic() + AWAY_SECONDS
                return None
            for name in list(self._running):
                self._tracker.started(self._trials[name])
            self._tracker.sync_all(self._trials.values())
        return self._tracker

    def _with_files(self) -> list[str]:
        folders = (TrialFolder(self._results, name) for name in self._trials)
        return [folder.name for folder in folders if folder.status() != "missing"]
