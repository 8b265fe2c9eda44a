"""What the harness adds to the training itself, measured through the commands that a user types.

``plan``       wall seconds of ``python -m qbench.run STUDY --plan`` with 10,000 trials.
``occupancy``  trials of about 30 s (two epochs of 25 steps) on two cores through Ray, tracked: from
               the start of the first to the end of the last, over the sum of their training and
               evaluation divided by the cores. 1 means that both cores train all the time.
the rest       an empty trial through Ray (:mod:`qbench.bench.harness_ray`), a logged metric
               (:mod:`qbench.bench.harness_tracking`), a report over 2,000 trials
               (:mod:`qbench.bench.harness_report`).
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qbench.bench import harness_ray, harness_report, harness_tracking
from qbench.bench.launch import launch, write_study
from qbench.bench.outcome import Outcome, Setting, Table

__all__ = ["Span", "occupancy", "read_spans", "run"]

_CORES = 2
_PARTS = (harness_ray.rows, harness_tracking.rows, harness_report.rows)
_WORK = ("train", "validate", "test")
"""The phases of a trial that are no harness."""


@dataclass(frozen=True)
class Span:
    """When a trial ran."""

    started: float
    """Unix seconds."""
    finished: float
    work: float
    """Seconds of training and evaluation."""


def occupancy(spans: Iterable[Span], cores: int) -> float:
    """Wall time from the first start to the last end, over what ``cores`` busy cores would need."""
    known = list(spans)
    wall = max(span.finished for span in known) - min(span.started for span in known)
    return wall / (sum(span.work for span in known) / cores)


def read_spans(results: Path) -> list[Span]:
    """The spans of all finished trials in a folder of results."""
    import pyarrow.parquet as pq

    found = []
    for done in sorted(results.glob("*/done")):
        facts = json.loads((done.parent / "environment.json").read_text(encoding="utf-8"))
        phases = pq.read_table(done.parent / "seconds.parquet").to_pylist()
        work = sum(row["seconds"] for row in phases if row["phase"] in _WORK)
        found.append(Span(facts["started"], facts["finished"], work))
    return found


def _plan(folder: Path, setting: Setting) -> tuple[int, float]:
    """How many trials, and the seconds of their plan."""
    seeds = 5 if setting.quick else 500
    study = write_study(
        "plan", folder, quantizers=["ste", "dorefa"], models=["resnet20", "vgg_small"],
        data={"sets": ["synthetic"]}, bits=["W1A32", "W2A32", "W2A2", "W4A4", "W8A8"],
        seeds=list(range(seeds)),
    )  # fmt: skip
    rounds = 1 if setting.quick else 3
    arguments = ("qbench.run", str(study), "--plan")
    return 20 * seeds, min(launch(folder, *arguments).seconds for _ in range(rounds))


def _trials(folder: Path, setting: Setting) -> tuple[list[Span], float]:
    """The spans of trials that ran through Ray, and the wall seconds of the whole command."""
    size, train, model = (8, 64, "resnet8") if setting.quick else (32, 3200, "resnet20")
    images = {"name": "synthetic", "options": {"size": size, "train": train, "test": train // 5}}
    study = write_study(
        "trials", folder, quantizers=["ste"], models=[model], bits=["W1A32"],
        data={"sets": [images]}, seeds=list(range(2 if setting.quick else 8)),
        training={"epochs": 1 if setting.quick else 2, "batch": 16 if setting.quick else 128,
                  "augmentation": ["crop", "flip"]},
    )  # fmt: skip
    seconds = launch(folder, "qbench.run", str(study)).seconds
    return read_spans(folder / "results"), seconds


def run(setting: Setting) -> Outcome:
    """Plan many trials, and run a few."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned, plan_seconds = _plan(folder, setting)
        spans, seconds = _trials(folder, setting)
        others = [row for part in _PARTS for row in part(folder, setting)]
    ratio = occupancy(spans, _CORES)
    work = sum(span.work for span in spans)
    rows = (
        (f"a plan of {planned} trials, the whole command", plan_seconds, "s"),
        (f"{len(spans)} trials, the whole command", seconds, "s"),
        ("their training and evaluation, mean", work / len(spans), "s a trial"),
        ("from first start to last end, over half of all training and evaluation", ratio, "x"),
        *others,
    )
    return Outcome((Table("Harness", ("what", "value", "unit"), rows),), {"occupancy": ratio})
