"""What a run shows of a trial: its name, parameters and metrics, read from the trial's files."""

import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from qbench.registry import diagnostics
from qbench.store import PhaseRow, Row, TrialFolder
from qbench.study.trial import Trial

__all__ = ["History", "Point", "parameters", "read_history", "run_name", "safe_name"]

SERIES, FINALS, COSTS = 18, 7, 5  # together 30 keys a run: the UI slows down beyond


class Point(NamedTuple):
    """One value of a metric; a second one that is equal in all four is stored once."""

    key: str
    value: float
    milliseconds: int
    """Unix time at which the epoch ended, read from the files: logging again repeats it."""
    step: int


def safe_name(name: str) -> str:
    """A name that MLflow takes: letters, digits, ``_ . - : /`` and spaces, as a tidy path."""
    tidy = posixpath.normpath(re.sub(r"[^\w.\-: /]", "_", name).strip("/") or "_")
    return re.sub(r"^\.+", "_", tidy)[:250]


def run_name(trial: Trial, label: str) -> str:
    """The name in the list of runs: ``daq · resnet20 · cifar100 · W1A32 · seed 0``."""
    words = (label, trial.model.label, trial.data.label, str(trial.bits), f"seed {trial.seed}")
    return " · ".join(words)


def parameters(trial: Trial) -> dict[str, str]:
    """The axes of the grid and every setting that differs from its default, as text."""
    training = trial.training
    found: dict[str, Any] = {
        "quantizer": trial.quantizer.name,
        "model": trial.model.name,
        "data": trial.data.name,
        "weight_bits": trial.bits.weight,
        "activation_bits": trial.bits.activation,
        "seed": trial.seed,
        "start": "float" if trial.needs else trial.start,
        "epochs": training.epochs,
        "batch": training.batch,
        "optimizer": training.optimizer.name,
        "learning_rate": training.optimizer.learning_rate,
    }
    changed = trial.model_dump(mode="json", exclude_defaults=True)
    recipe = changed.pop("training", {})
    for told in ("bits", "seed", "start"):
        changed.pop(told, None)
    for told in ("epochs", "batch"):
        recipe.pop(told, None)
    for told in ("name", "learning_rate"):
        recipe.get("optimizer", {}).pop(told, None)
    found |= {
        key: value
        for key, value in _flat({**changed, **recipe})
        if key not in ("quantizer.name", "model.name", "data.name")
    }
    return {safe_name(key): _text(value) for key, value in found.items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            inner = prefix if key == "options" else f"{prefix}{key}."
            yield from _flat(value, inner)
        else:
            yield f"{prefix}{key}", value


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:6000]  # MLflow's limit


@dataclass(frozen=True)
class History:
    """The metrics of a trial as far as its files go."""

    series: tuple[Point, ...] = ()
    """One value an epoch, of epochs whose time is known."""
    finals: tuple[Point, ...] = ()
    """``final/…`` and ``cost/…``, once."""
    left_out: tuple[str, ...] = ()
    """Names beyond the limit of keys; they are in the artifact ``history.parquet``."""
    begun: str = ""
    """When the first phase of the first epoch ended: another training has another."""
    started: int = 0
    """Unix milliseconds; 0 while unknown."""
    ended: int = 0

    @property
    def last_epoch(self) -> int:
        """The last epoch that is in ``series``; -1 before the first."""
        return max((point.step for point in self.series), default=-1)


def read_history(folder: TrialFolder) -> History:
    """Read the metrics of a trial, whether it is finished or not.

    Raises:
        pyarrow.ArrowException: A file is damaged.
    """
    phases = [PhaseRow(**row) for row in _rows(folder, "seconds.parquet")]
    rows = [Row(**row) for row in _rows(folder, "history.parquet")]
    if not phases:
        return History()
    times: dict[int, int] = {}
    for phase in phases:  # later phases of an epoch must not move the time of its points
        time = round(phase.ended * 1000)
        times[phase.epoch] = min(time, times.get(phase.epoch, time))
    first = min(phases, key=lambda phase: phase.ended)
    tests = [row for row in rows if row.name.startswith("test/")]
    lasts = {row.name: row for row in rows if row.name.startswith("validation/")}
    finals = {safe_name(f"final/{row.name}"): row for row in [*tests, *lasts.values()]}
    names = _headlines_first(row.name for row in rows if not row.name.startswith("test/"))
    shown = set(names[:SERIES])
    costs = _costs(phases)
    end = max(times)
    return History(
        series=tuple(
            Point(safe_name(row.name), row.value, times[row.epoch], row.epoch)
            for row in rows
            if row.name in shown and row.epoch in times
        ),
        finals=tuple(
            Point(key, value, times[end], end)
            for key, value in [
                *[(key, row.value) for key, row in finals.items()][:FINALS],
                *costs[:COSTS],
            ]
        ),
        left_out=tuple(names[SERIES:] + list(finals)[FINALS:] + [key for key, _ in costs[COSTS:]]),
        begun=repr(first.ended),
        started=round((first.ended - first.seconds) * 1000),
        ended=round(max(phase.ended for phase in phases) * 1000),
    )


def _headlines_first(names: Iterable[str]) -> list[str]:
    """Names once each: of training and validation, then those that diagnostics put first."""
    facts = [entry.facts.get("tracked", ()) for entry in diagnostics.entries().values()]
    tracked = {name for names_of_one in facts for name in names_of_one}

    def rank(name: str) -> int:
        return 0 if name.startswith(("train/", "validation/")) else 1 if name in tracked else 2

    return sorted(dict.fromkeys(names), key=rank)


def _costs(phases: list[PhaseRow]) -> list[tuple[str, float]]:
    totals: dict[str, float] = {}
    for phase in phases:
        name = phase.phase.split("/")[0]  # diagnostics together
        totals[name] = totals.get(name, 0.0) + phase.seconds
    ranked = sorted(totals.items(), key=lambda total: -total[1])
    parts = [(safe_name(f"cost/{phase}_seconds"), seconds) for phase, seconds in ranked]
    return [("cost/total_seconds", sum(totals.values())), *parts]


def _rows(folder: TrialFolder, name: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = folder.read_table(name).to_pylist()
    except FileNotFoundError:
        return []  # no checkpoint so far
    return rows
