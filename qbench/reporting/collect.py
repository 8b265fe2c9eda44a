"""Reading result files: what each trial ended with, and why some have no result.

Nothing is dropped in silence and nothing here raises for a bad file: a trial is ``done``, or it is
in one of the other states with a reason.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qbench.storage import in_parallel, remembering, snapshot
from qbench.store import TrialFolder
from qbench.study.trial import Trial

__all__ = [
    "ACCURACY", "CURVES", "STATES", "TIMELINES", "State", "TrialResult",
    "collect", "phase_seconds",
]  # fmt: skip

State = Literal["done", "failed", "refused", "unfinished", "missing", "damaged"]
STATES: tuple[State, ...] = ("done", "failed", "refused", "unfinished", "missing", "damaged")

ACCURACY = "test/accuracy"
"""The number that a report is about: the deployed network's share of test images it gets right."""
CURVES = ("validation/accuracy", "train/accuracy")
"""The histories that are drawn over epochs."""
TIMELINES = (
    "discretization/train_deploy_gap", "discretization/activation_gap",
    "gradient/flip_set_r_1pct", "gradient/latent_norm",
    "weight/temperature", "activation/temperature",
)  # fmt: skip
"""The histories of which more than the last value says something."""
READ_FILES = (
    "trial.json", "history.parquet", "layers.parquet", "audit.json", "seconds.parquet",
    "environment.json",
)  # fmt: skip


@dataclass(frozen=True)
class TrialResult:
    """What the files of one trial say."""

    trial: Trial
    state: State
    reason: str = ""
    """In a few words, why there is no result: ``diverged``, ``history.parquet is damaged``."""
    message: str = ""
    """The whole sentence, where one was recorded."""
    code: str = ""
    """The fingerprint of the method's code that made it."""
    final: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Name to (epoch, value) of the last entry of each history."""
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """The histories in ``CURVES`` and ``TIMELINES``, by epoch."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """The sums of ``audit.json``: what the deployed network holds."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each phase."""
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def short_reason(self) -> str:
        """The state with its reason, for a table's cell."""
        if self.state in ("failed", "refused"):
            return f"{self.state}: {self.reason}"
        return "not finished" if self.state == "unfinished" else self.state


def collect(trials: Iterable[Trial], results: Path) -> dict[str, TrialResult]:
    """Read what is there of every trial, by its name."""
    seen = snapshot(results)
    found = in_parallel(seen, lambda trial: read_trial(trial, remembering(seen)), trials)
    return {result.trial.name: result for result in found}


def median(rounds: Sequence[TrialResult]) -> TrialResult:
    """Of one seed's results, one a round of tuning, the one in the middle; the worse of two.

    One that failed is worse than all others; while one is missing, it stands for all.
    """
    for result in rounds:
        if result.state not in ("done", "failed", "refused"):
            return result

    def accuracy(result: TrialResult) -> float:
        return result.final[ACCURACY][1] if result.state == "done" else -math.inf

    return sorted(rounds, key=accuracy)[(len(rounds) - 1) // 2]


def read_trial(trial: Trial, results: Path) -> TrialResult:
    """Read one trial's files; a bad one gives the state ``damaged`` and names it."""
    folder = TrialFolder(results, trial.name)
    try:
        status = folder.status()
        if status == "missing":
            return TrialResult(trial, "missing", "not run", "it was not run")
        if status == "failed":
            return _failed(trial, folder)
        if status == "partial" and not (folder.path / "done").is_file():
            return TrialResult(trial, "unfinished", "not finished", "it was cut off, or still runs")
        whole = status == "done"  # of the right sizes; a report reads some of the files
        wrong = folder.damaged(names=READ_FILES) if whole else folder.damaged(sizes_only=True)
        if wrong:
            listing = ", ".join(wrong)
            return _damaged(trial, f"{listing} not as recorded when the trial ended")
        return _done(trial, folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        return _damaged(trial, f"its files cannot be read: {type(error).__name__}: {error}")


def _damaged(trial: Trial, message: str) -> TrialResult:
    return TrialResult(trial, "damaged", "damaged", " ".join(message.split())[:300])


def _failed(trial: Trial, folder: TrialFolder) -> TrialResult:
    failure = folder.failure()
    if failure is None:
        return _damaged(trial, "failed.json cannot be read")
    return TrialResult(trial, "failed", str(failure.reason), str(failure.message))


def _done(trial: Trial, folder: TrialFolder) -> TrialResult:
    final: dict[str, tuple[int, float]] = {}
    curves: dict[str, dict[int, float]] = {}
    for name, history in _histories(folder.read_table("history.parquet")):
        final[name] = history[-1]
        if name in CURVES or name in TIMELINES:
            curves[name] = dict(history)
    if ACCURACY not in final:
        return _damaged(trial, f"history.parquet has no {ACCURACY}")
    if not math.isfinite(final[ACCURACY][1]):
        return _damaged(trial, f"{ACCURACY} is {final[ACCURACY][1]}")
    audit = folder.read_json("audit.json")
    if audit.get("refusal"):
        return TrialResult(trial, "refused", "not of its bits", str(audit["refusal"]))
    return TrialResult(
        trial=trial,
        state="done",
        code=str(folder.read_json("trial.json").get("code", "")),
        final=dict(sorted(final.items())),
        curves=curves,
        audit={name: value for name, value in audit.items() if name != "tensors"},
        seconds=phase_seconds(folder),
        environment=folder.read_json("environment.json"),
    )


def _histories(table: pa.Table) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Each name with its (epoch, value) by epoch; a long table is never made into rows."""
    names = pc.dictionary_encode(table.column("name")).combine_chunks()
    if not len(names):
        return
    codes = names.indices.to_numpy()
    epochs, values = (table.column(name).to_numpy() for name in ("epoch", "value"))
    order = np.lexsort((epochs, codes))  # stable: of two values of an epoch the later one is last
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    for places in np.split(order, starts):
        pairs = zip(epochs[places].tolist(), values[places].tolist(), strict=True)
        yield str(names.dictionary[codes[places[0]]]), [(int(e), float(v)) for e, v in pairs]


def phase_seconds(folder: TrialFolder) -> dict[str, float]:
    """Wall time of each phase of a trial that is done."""
    table = folder.read_table("seconds.parquet")
    phases = pc.dictionary_encode(table.column("phase")).combine_chunks()
    totals = np.bincount(phases.indices, table.column("seconds"), len(phases.dictionary))
    return dict(sorted(zip(phases.dictionary.to_pylist(), totals.tolist(), strict=True)))
