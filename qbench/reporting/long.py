"""The numbers behind a report: every last value of every trial, and a summary of cells."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from qbench.reporting.compare import Comparison, Group, setting_of
from qbench.reporting.statistics import Estimate, estimate
from qbench.reporting.tables import problems

__all__ = ["long_results", "summary"]

LONG = (
    "trial", "label", "ablation", "model", "data", "bits", "seed", "state", "reason", "epoch",
    "name", "value",
)  # fmt: skip
MEASURES = {
    "gap_points": ("test/gap", 100.0),
    "reestimated_percent": ("test/accuracy_reestimated", 100.0),
    "train_deploy_gap": ("discretization/train_deploy_gap", 1.0),
    "latent_error": ("discretization/latent_error", 1.0),
}


def long_results(comparison: Comparison) -> pd.DataFrame:
    """One row for the last value of each history and phase of each trial.

    A trial without a result has one row with its state and reason. A float trial stands once, with
    its own bits.
    """
    return pd.DataFrame(_long_rows(comparison), columns=list(LONG)).astype({"epoch": "Int64"})


def _long_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    cells = [(c.trial, c.label, c.ablation, c.seed) for c in comparison.plan.cells]
    cells += [(trial, "", "", trial.seed) for trial in comparison.plan.needed]
    for trial, label, ablation, seed in cells:
        found = comparison.trials[trial.name]
        place = (trial.name, label, ablation, *setting_of(trial), seed)
        if found.state != "done":
            yield (*place, found.state, found.short_reason, None, None, None)
        for name, (epoch, value) in found.final.items():
            yield (*place, found.state, "", epoch, name, value)
        for phase, seconds in found.seconds.items():
            yield (*place, found.state, "", None, f"seconds/{phase}", seconds)


def summary(comparison: Comparison) -> pd.DataFrame:
    """One row for each row of the report in each setting; accuracies in percent or points."""
    rows = []
    for group in comparison.groups.values():
        marked = any(group is other for other in comparison.marked(group.setting))
        found = group.accuracy_estimate
        row: dict[str, Any] = {"label": group.label, "ablation": group.ablation}
        row |= group.setting._asdict()
        row |= {"planned": len(group.results), "done": len(group.done)}
        row |= {"problems": "; ".join(problems(group))}
        row |= _columns("accuracy_percent", found) | {"marked_best": marked}
        row |= _columns("below_float_points", comparison.drop(group))
        row |= {f"{name}_mean": _mean(group, *how) for name, how in MEASURES.items()}
        seconds = estimate(group.seconds("train").tolist())
        row |= {"train_seconds_mean": seconds.mean}
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(name: str, found: Estimate) -> dict[str, Any]:
    """Mean, deviation and t interval; no interval with fewer seeds than a claim needs."""
    shown = found.has_interval
    return {
        f"{name}_n": found.n,
        f"{name}_mean": found.mean,
        f"{name}_sd": found.deviation,
        f"{name}_low": found.low if shown else None,
        f"{name}_high": found.high if shown else None,
    }


def _mean(group: Group, name: str, scale: float) -> float:
    return estimate(group.values(name, scale).tolist()).mean
