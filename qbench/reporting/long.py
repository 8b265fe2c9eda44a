"""The numbers behind a report: every last value of every trial, and a summary of cells."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from qbench.reporting.compare import Comparison, Group, setting_of
from qbench.reporting.knob_words import number_of
from qbench.reporting.statistics import Estimate, estimate
from qbench.reporting.tables import problems

__all__ = ["long_results", "searched", "summary"]

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
    its own bits. Of a study that is tuned, the last column is the round that chose the trial's
    settings, 0 for its row's own; a trial that several rounds chose stands once for each.
    """
    columns = [*LONG, "round"]
    frame = pd.DataFrame(_long_rows(comparison), columns=columns).astype({"epoch": "Int64"})
    return frame if comparison.plan.study.tuning is not None else frame[list(LONG)]


def _long_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    cells = [(c.trial, c.label, c.ablation, c.seed, c.round) for c in comparison.plan.cells]
    cells += [(trial, "", "", trial.seed, 0) for trial in comparison.plan.needed]
    for trial, label, ablation, seed, number in cells:
        found = comparison.trials[trial.name]
        place = (trial.name, label, ablation, *setting_of(trial), seed)
        if found.state != "done":
            yield (*place, found.state, found.short_reason, None, None, None, number)
        for name, (epoch, value) in found.final.items():
            yield (*place, found.state, "", epoch, name, value, number)
        for phase, seconds in found.seconds.items():
            yield (*place, found.state, "", None, f"seconds/{phase}", seconds, number)


def searched(comparison: Comparison) -> pd.DataFrame:
    """One row for each trial of each search, with a column for each knob, by its dotted key.

    A knob has the row's own value where the search did not set it, and none where the row does
    not have it. A column holds numbers where all its values are, and else text.
    """
    searches = comparison.searches
    keys = list(dict.fromkeys(key for own in searches.spaces.values() for key in own))
    chosen = {id(one.attempt) for one in comparison.plan.choices}
    rows = []
    for one in searches.tried:
        attempt, trial = one.attempt, one.attempt.trial
        done = one.ended and not one.failed
        row: dict[str, Any] = {"trial": trial.name, "label": attempt.label}
        row |= setting_of(trial)._asdict() | {"seed": trial.seed}
        row |= {"round": attempt.round, "number": attempt.number, "epochs": trial.last_epoch}
        row |= {"whole": attempt.last, "state": "done" if done else "failed" if one.failed else ""}
        own = searches.spaces[attempt.label]
        row |= {key: searches.value(attempt, key) if key in own else None for key in keys}
        row |= {"validation_accuracy": one.reading.score if done else None}
        row |= {"seconds": one.reading.seconds, "chosen": id(attempt) in chosen}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for key in keys:
        known = frame[key].dropna()
        if not all(number_of(value) is not None for value in known):
            frame[key] = frame[key].map(str, na_action="ignore")
    return frame


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
