"""Milliseconds of a metric that is logged to MLflow in SQLite: in batches, and a call each."""

import itertools
from pathlib import Path

from qbench.bench.outcome import Cell, Setting
from qbench.bench.timing import cpu_watch, measure

__all__ = ["rows"]


def rows(folder: Path, setting: Setting) -> list[tuple[Cell, ...]]:
    """Both ways, into one fresh store."""
    from qbench.tracking.address import default_uri
    from qbench.tracking.client import Store  # mlflow's import takes seconds
    from qbench.tracking.history import Point

    many, few = (50, 5) if setting.quick else (1000, 100)
    store = Store(default_uri(folder), folder)
    experiment = store.experiment("bench", folder / "artifacts")
    run = store.find_or_create(experiment, "bench", "metrics", "metrics", {}, 0).run_id
    steps = itertools.count()

    def batch() -> None:
        step = next(steps)
        store.log(run, [Point(f"series/{key % 20}", 1.0, step, step * many + key)
                        for key in range(many)])  # fmt: skip

    def singly() -> None:
        for _ in range(few):
            step = next(steps)
            store.client.log_metric(run, "single", 1.0, timestamp=step, step=step)

    timing = measure(
        {"batch": batch, "singly": singly}, rounds=1 if setting.quick else 5, watch=cpu_watch
    )
    in_batches, alone = timing.wall["batch"] / many, timing.wall["singly"] / few
    return [
        (f"a logged metric, {many} a call", 1000 * in_batches, "ms"),
        ("a logged metric, a call each", 1000 * alone, "ms"),
        ("a call each over batches", alone / in_batches, "x"),
    ]
