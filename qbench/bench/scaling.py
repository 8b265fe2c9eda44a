"""What the harness costs as studies grow: the driver's seconds a trial, and its memory.

The command ``python -m qbench.run`` plans, runs through Ray, tracks to MLflow in SQLite and reports
a study of which only the training is left out: its trials write the files of one epoch, whose
numbers are made up. Each size is a run of its own in an empty folder.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qbench.bench.harness_report import write_made_up
from qbench.bench.launch import launch, write_study
from qbench.bench.outcome import Outcome, Setting, Table
from qbench.execution.jobs import Values
from qbench.study.trial import Trial
from qbench.training.site import Site

__all__ = ["QUICK_SIZES", "SIZES", "Measured", "further", "run", "train"]

SIZES = (100, 1000, 10_000)
QUICK_SIZES = (20, 40)
_SEEDS_OF = 20  # trials a seed: two methods, two networks, five widths
_COLUMNS = (
    "trials", "whole command, s", "until the first, s", "trials, s", "rest, s", "s a trial",
    "s for each more", "memory, GiB", "runs in MLflow",
)  # fmt: skip
_NOTE = (
    "`trials`: from handing them to Ray until the last has ended, tracking beside it; `rest`: what "
    "tracking still lacks then, and the report; `s for each more`: what a trial costs beyond those "
    "of the row above; `memory`: the most that the driver held; the study has a run of its own."
)


@dataclass(frozen=True)
class Measured:
    """One study."""

    trials: int
    seconds: float
    """Wall time of the whole command."""
    before: float
    """Seconds until the trials are handed to Ray."""
    running: float
    """Seconds until the last has ended."""
    peak_bytes: int
    runs: int
    """Those that MLflow has at the end."""


def train(trial: Trial, site: Site) -> Iterator[Values]:
    """Write the files of a trial of one epoch."""
    write_made_up(site.results, trial, epochs=1)
    yield {"epoch": 1, "epochs": 1}


def further(small: Measured, large: Measured) -> float:
    """Seconds of a trial beyond those of the smaller study."""
    return (large.seconds - small.seconds) / (large.trials - small.trials)


def _measured(count: int) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write_study(
            "scaling", folder, quantizers=["ste", "dorefa"], models=["resnet20", "vgg_small"],
            data={"sets": [{"name": "synthetic", "options": {"train": 64, "test": 16}}]},
            bits=["W1A32", "W2A32", "W2A2", "W4A4", "W8A8"],
            seeds=list(range(count // _SEEDS_OF)), training={"epochs": 1},
        )  # fmt: skip
        took = launch(folder, "qbench.bench.empty_study", "facts.json", str(study))
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        with sqlite3.connect(folder / "results" / "mlflow.db") as store:
            (runs,) = store.execute("select count(*) from runs").fetchone()
    return Measured(count, took.seconds, facts["before"], facts["running"], took.peak_bytes, runs)


def run(setting: Setting) -> Outcome:
    """One study of each size."""
    found = [_measured(count) for count in (QUICK_SIZES if setting.quick else SIZES)]
    rows = tuple(
        (
            one.trials,
            one.seconds,
            one.before,
            one.running,
            one.seconds - one.before - one.running,
            one.seconds / one.trials,
            further(previous, one) if previous else "",
            one.peak_bytes / 2**30,
            one.runs,
        )
        for previous, one in zip([None, *found], found, strict=False)
    )
    return Outcome((Table("Trials that do nothing", _COLUMNS, rows, _NOTE),))
