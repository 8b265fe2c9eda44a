"""The answer of a study in one generated sentence, with its uncertainty."""

import pandas as pd

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.numbers import fixed
from qbench.reporting.statistics import MINIMUM_SEEDS, Estimate, estimate, paired_difference
from qbench.reporting.tables import place

__all__ = ["headline"]

MOST_NAMED = 5
"""Rows that a sentence names beside the best; more are counted."""


def headline(comparison: Comparison) -> str:
    """One sentence; it claims that a row is best only where the intervals say so."""
    settings = [setting for setting in comparison.settings if comparison.competitors(setting)]
    if not settings:
        return "No quantized trial has a result yet, so there is nothing to compare."
    marked = {s: found for s in settings if (found := comparison.marked(s))}
    if not marked:
        return _without_claim(comparison, settings)
    if len(marked) == 1:
        return _one_setting(comparison, *next(iter(marked.items())))
    return _several(comparison, marked)


def _without_claim(comparison: Comparison, settings: list[Setting]) -> str:
    best = max(
        (comparison.competitors(setting)[0] for setting in settings),
        key=lambda group: group.accuracy_estimate.mean,
    )
    accuracy = best.accuracy_estimate
    spread = f", standard deviation {fixed(accuracy.deviation)}" if accuracy.n > 1 else ""
    facts = (
        f"{fixed(accuracy.mean)} % at {place(best.setting)} ({_seeds(accuracy.n)}{spread})"
        f"{_below(comparison.drop(best))}"
    )
    if all(len(comparison.competitors(setting)) == 1 for setting in settings):
        return f"{best.label} has no other row to compare with; it deploys at {facts}."
    return (
        f"{best.label} has the highest mean deployed test accuracy, {facts}, but with fewer than "
        f"{MINIMUM_SEEDS} seeds the rows cannot be told apart."
    )


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _below(drop: Estimate) -> str:
    if not drop.n:
        return ""
    side = "below" if drop.mean >= 0 else "above"
    bounds = _bounds(drop if drop.mean >= 0 else _negated(drop))
    return f", {fixed(abs(drop.mean))} points {side} float{bounds}"


def _negated(found: Estimate) -> Estimate:
    return Estimate(found.n, -found.mean, found.deviation, found.half_width)


def _bounds(found: Estimate) -> str:
    if not found.has_interval:
        return ""
    return f" (95 % interval {fixed(found.low)} to {fixed(found.high)})"


def _one_setting(comparison: Comparison, setting: Setting, marked: list[Group]) -> str:
    best, second = marked[0], comparison.competitors(setting)[1]
    start = (
        f"At {place(setting)} {best.label} has the highest deployed test accuracy, "
        f"{fixed(best.accuracy_estimate.mean)} % ({_seeds(best.accuracy_estimate.n)})"
        f"{_below(comparison.drop(best))}"
    )
    rivals = [group.label for group in marked[1:]]
    if rivals:
        return f"{start}, and cannot be told from {_names(rivals)}."
    ahead = paired_difference(best.accuracy, second.accuracy)
    return f"{start}, and {fixed(ahead.mean)} points above {second.label}{_bounds(ahead)}."


def _names(labels: list[str]) -> str:
    if len(labels) > MOST_NAMED:
        return f"{len(labels)} other rows"
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _several(comparison: Comparison, marked: dict[Setting, list[Group]]) -> str:
    counts = {
        label: sum(any(group.label == label for group in found) for found in marked.values())
        for label in comparison.labels
    }
    if all(len(found) == len(_with_seeds(comparison, s)) for s, found in marked.items()):
        return _no_difference(comparison, marked)
    most = max(counts.values())
    leaders = [label for label, count in counts.items() if count == most]
    drops = {label: _mean_drop(comparison, label, list(marked)) for label in leaders}
    leaders.sort(key=lambda label: drops[label].mean if drops[label].n else float("inf"))
    best = leaders[0]
    alone = sum(found[0].label == best and len(found) == 1 for found in marked.values())
    sentence = (
        f"{best} is best, or cannot be told from the best, in {most} of {len(marked)} settings "
        f"(alone in {alone})"
    )
    if drops[best].n:
        amount = _below(drops[best]).removeprefix(", ")
        sentence += f" and deploys {amount}, averaged over its settings"
    if leaders[1:]:
        sentence += f"; {_names(leaders[1:])} reach as many settings"
    return f"{sentence}."


def _with_seeds(comparison: Comparison, setting: Setting) -> list[Group]:
    return [g for g in comparison.competitors(setting) if g.accuracy_estimate.has_interval]


def _no_difference(comparison: Comparison, marked: dict[Setting, list[Group]]) -> str:
    rows = {group.label for found in marked.values() for group in found}
    drops = {label: _mean_drop(comparison, label, list(marked)) for label in comparison.labels}
    known = [label for label in comparison.labels if label in rows and drops[label].n]
    sentence = (
        f"None of {len(rows)} quantized rows can be told from the best in any of {len(marked)} "
        f"settings with {_seeds(max(g.accuracy_estimate.n for gs in marked.values() for g in gs))}"
    )
    if not known:
        return f"{sentence}."
    best = min(known, key=lambda label: drops[label].mean)
    amount = _below(drops[best]).removeprefix(", ")
    return f"{sentence}; the least loss on average is that of {best}, {amount}."


def _mean_drop(comparison: Comparison, label: str, settings: list[Setting]) -> Estimate:
    """The drop from float by seed, averaged over settings first; seeds are the replicates."""
    drops = []
    for setting in settings:
        group, reference = comparison.groups.get((label, setting)), comparison.float_of(setting)
        if group is not None and reference is not None:
            drops.append(reference.accuracy - group.accuracy)
    if not drops:
        return estimate([])
    by_seed = pd.concat(drops, axis=1).dropna().mean(axis=1)
    return estimate(by_seed.sort_index().tolist())
