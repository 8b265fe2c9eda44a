"""What trials will take, judged by those that are done."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from qbench.storage import snapshot
from qbench.store import TrialFolder
from qbench.study.plan import Plan
from qbench.study.schema import DiagnosticEntry
from qbench.study.trial import Trial

__all__ = ["Estimate", "estimate_costs"]

READ_AT_MOST = 200  # trials: a mean over some is as good, and a plan answers at once
Key = tuple[object, ...]


@dataclass(frozen=True)
class Estimate:
    """Seconds of one trial, setup left out."""

    training: float
    """All but its diagnostics."""
    diagnostics: float
    unknown: tuple[str, ...]
    """Diagnostics that no done trial of this model and data set has measured."""


def estimate_costs(plan: Plan, results: Path, done: tuple[str, ...]) -> Mapping[str, Estimate]:
    """What each trial takes, by its name, judged by the nearest trials that are done.

    The nearest are those of the same model and data set, best of the same quantizer and bits too.
    Trials without such a neighbour are left out.
    """
    trials = plan.trials()
    known: defaultdict[Key, list[float]] = defaultdict(list)
    read = done[:READ_AT_MOST]
    results = snapshot(results, ["done", "seconds.parquet"], read) if read else results
    for name in read:
        trial = trials[name]
        for what, seconds in _spent(trial, TrialFolder(results, name)):
            for kin in _kinship(trial):
                known[(*kin, *what)].append(seconds)
    means = {key: fmean(values) for key, values in known.items()}
    found = {name: _estimate(trial, means) for name, trial in trials.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _spent(trial: Trial, folder: TrialFolder) -> Iterator[tuple[Key, float]]:
    """Seconds an epoch, of that for watching it, and of a measurement of each diagnostic."""
    epochs = trial.training.epochs
    totals: defaultdict[str, float] = defaultdict(float)
    try:
        if folder.damaged(names=["seconds.parquet"]):
            return  # the report names it
        for row in folder.read_table("seconds.parquet").to_pylist():
            totals[row["phase"]] += row["seconds"]
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError):
        return
    training = (value for name, value in totals.items() if not name.startswith(("diag", "setup")))
    if epochs:
        yield ("epoch",), sum(training) / epochs
        yield ("watched",), totals.get("diagnose", 0.0) / epochs
    for entry in trial.diagnostics.of:
        if (seconds := totals.get(f"diagnose/{entry.name}")) is not None:
            yield _measured(entry), seconds / _times(entry, epochs)


def _estimate(trial: Trial, means: Mapping[Key, float]) -> Estimate | None:
    epochs = trial.training.epochs
    training = _nearest(trial, ("epoch",), means)
    if training is None:
        return None
    unknown: list[str] = []
    diagnostics = (_nearest(trial, ("watched",), means) or 0.0) * epochs
    for entry in trial.diagnostics.of if trial.quantizer.name != "float" else ():
        seconds = _nearest(trial, _measured(entry), means)
        if seconds is None:
            unknown.append(entry.name)
        else:
            diagnostics += seconds * _times(entry, epochs)
    return Estimate(training * epochs, diagnostics, tuple(unknown))


def _nearest(trial: Trial, what: Key, means: Mapping[Key, float]) -> float | None:
    return next((means[key] for kin in _kinship(trial) if (key := (*kin, *what)) in means), None)


def _kinship(trial: Trial) -> list[Key]:
    place = (trial.model.name, trial.data.name, trial.data.limit)
    return [(*place, trial.quantizer.name, str(trial.bits)), place]


def _measured(entry: DiagnosticEntry) -> Key:
    return entry.name, entry.layers, repr(sorted(entry.options.items()))


def _times(entry: DiagnosticEntry, epochs: int) -> int:
    return sum(entry.due(epoch, epochs) for epoch in range(epochs + 1))
