"""Seconds of an empty trial through Ray Tune, with workers that are reused and with fresh ones."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from unittest.mock import patch

from qbench.bench import empty
from qbench.bench.outcome import Cell, Setting
from qbench.execution.environment import environment, settings
from qbench.execution.execute import execute
from qbench.execution.jobs import Values
from qbench.store import Status
from qbench.study.schema import Resources
from qbench.training.site import Site

__all__ = ["rows", "seconds_a_trial"]


class Ends:
    """A watcher that notes when trials end."""

    def __init__(self) -> None:
        """Nothing has ended."""
        self.times: list[float] = []

    def started(self, name: str) -> None:
        """Not noted."""

    def epoch(self, name: str, values: Values) -> None:
        """Not noted."""

    def ended(self, name: str, status: Status) -> None:
        """Note the time."""
        self.times.append(time.monotonic())


def seconds_a_trial(results: Path, count: int) -> float:
    """Wall seconds between the ends of empty trials, all cores together.

    Args:
        results: Where their files go; no trial is there yet.
        count: How many trials, more than the first two cores' worth.
    """
    site, ends = Site(results=results, images=results), Ends()
    jobs = [empty.job(site, seed) for seed in range(count)]
    execute(jobs, Resources(), ends, local=False, run="qbench.bench.empty:train")
    return (ends.times[-1] - ends.times[0]) / (count - 1)


@contextmanager
def _fresh_workers() -> Iterator[None]:
    """Tune as it is by default: a new process for each trial."""
    original = resolve_name("qbench.execution.cluster:tune.TuneConfig")

    def configure(**options: object) -> object:
        return original(**options | {"reuse_actors": False})

    with patch("qbench.execution.cluster.tune.TuneConfig", configure):
        yield


def rows(folder: Path, setting: Setting) -> list[tuple[Cell, ...]]:
    """Both ways, in one Ray that is started before."""
    count = 4 if setting.quick else 24
    with environment(**settings(None)):
        from qbench.execution.connection import connected  # ray's import takes seconds

        with connected(Resources(), None):
            reused = seconds_a_trial(_made(folder / "reused"), count)
            with _fresh_workers():
                fresh = seconds_a_trial(_made(folder / "fresh"), 4 if setting.quick else 8)
    return [
        ("an empty trial through Ray Tune, workers reused", reused, "s"),
        ("an empty trial through Ray Tune, fresh workers", fresh, "s"),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
