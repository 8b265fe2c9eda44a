"""The fairness audit: what was equal for all rows, what was not, and what each row took for it."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.costs import counted, ratio_to_float, relative_time
from qbench.reporting.document import Entry, Table
from qbench.reporting.factors import FACTORS, TUNING, Factor
from qbench.reporting.knob_words import short_names
from qbench.reporting.numbers import NOTHING, duration, fixed
from qbench.study.trial import Trial

__all__ = ["fairness_table"]

SAME = "same"
TUNED = "tuned"
RESULTS = "trials with a result"
STATE = "training_state_bytes"
MOST_COLUMNS = 8
"""More columns than that, and fewer rows than columns: rows and columns change places."""


class Line(NamedTuple):
    """A factor, with an entry for each row of the study."""

    name: str
    entries: list[Entry]


def fairness_table(comparison: Comparison) -> Table | None:
    """What differs between the rows; what is equal for all of them stands in a sentence below.

    Rows of ablations are left out: their names say what they change. Nothing where the study has
    no rows.

    Args:
        comparison: What was run.
    """
    labels = comparison.labels
    if not labels:
        return None
    trials = _trials(comparison)
    factors = [f for f in FACTORS if f is not TUNING or comparison.plan.study.tuning is None]
    found = [(factor, _words(comparison, factor, trials)) for factor in factors]
    known = [(factor, words) for factor, words in found if any(words.values())]
    equal = {
        factor.name: next(filter(None, words.values()))
        for factor, words in known
        if len(set(filter(None, words.values()))) == 1
    }
    shared = {
        factor.name: factor.of_study(comparison.plan.study)
        for factor, _ in known
        if factor.name not in equal
    }
    lines = [
        Line(factor.name, [_entry(words[label], shared[factor.name]) for label in labels])
        for factor, words in known
        if factor.name in shared
    ]
    for line in _searches(comparison):
        if len({entry.text for entry in line.entries}) == 1:
            equal[line.name] = line.entries[0].text
        else:
            lines.append(line)
    lines += _costs(comparison)
    results = _results(comparison, trials)
    if any(entry.bold for entry in results):
        lines.append(Line(RESULTS, results))
    else:
        equal[RESULTS] = "all"
    return _table(labels, lines, tuple(_notes(equal, shared, lines)))


def _table(labels: Sequence[str], lines: Sequence[Line], notes: Sequence[str]) -> Table:
    caption = "What was not equal for all rows, and what each row took more than float."
    if len(lines) > MOST_COLUMNS and len(labels) < len(lines):
        columns = [(label,) for label in labels]
        rows = [(line.name, line.entries) for line in lines]
        return Table("fairness", caption, "factor", columns, rows, notes=notes)
    columns = [(line.name,) for line in lines]
    rows = [(label, [line.entries[i] for line in lines]) for i, label in enumerate(labels)]
    return Table("fairness", caption, "quantizer", columns, rows, notes=notes)


def _trials(comparison: Comparison) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {label: [] for label in comparison.labels}
    for cell in comparison.plan.cells:
        if not cell.ablation:
            found[cell.label].append(cell.trial)
    return found


def _words(
    comparison: Comparison, factor: Factor, trials: Mapping[str, Sequence[Trial]]
) -> dict[str, str]:
    """What each row has; several answers of one row stand beside each other."""
    found = {}
    for label, own in trials.items():
        if factor.name in short_names(comparison.searches.spaces.get(label, {})).values():
            found[label] = TUNED
            continue
        words = dict.fromkeys(factor.of_row(comparison, trial) for trial in own)
        found[label] = "; ".join(filter(None, words))
    return found


def _entry(words: str, shared: str) -> Entry:
    if not words:
        return Entry(NOTHING)
    return Entry(SAME) if words == shared else Entry(words, bold=True, value=_number(words))


def _number(words: str) -> float | None:
    try:
        return float(words)
    except ValueError:
        return None


def _results(comparison: Comparison, trials: Mapping[str, Sequence[Trial]]) -> list[Entry]:
    entries = []
    for own in trials.values():
        states = [comparison.trials[name].state for name in {trial.name for trial in own}]
        done = states.count("done")
        text = f"{done} of {len(states)}"
        entries.append(Entry(text, bold=done < len(states), value=done / len(states)))
    return entries


def _searches(comparison: Comparison) -> Iterator[Line]:
    """What tuning took, row by row; nothing without it."""
    if not comparison.searches.all:
        return
    spent = [comparison.searches.spent(label) for label in comparison.labels]
    counts = Counter(search.label for search in comparison.searches.all)
    searches = [Entry(str(counts[label]), value=counts[label]) for label in comparison.labels]
    yield Line("searches", searches)
    yield Line("trials in searches", [Entry(str(n), value=n) for n, _, _ in spent])
    yield Line("epochs in searches", [Entry(str(n), value=n) for _, n, _ in spent])
    yield Line("time of searches", [Entry(duration(s), value=s) for _, _, s in spent])


def _costs(comparison: Comparison) -> Iterator[Line]:
    """Added parameters, time and memory of each row: over its settings, from least to most."""
    added = _over_settings(comparison, lambda group: _mean(counted(group, "quantizer_parameters")))
    time = _over_settings(comparison, lambda group: _mean(relative_time(comparison, group)))
    state = _over_settings(
        comparison,
        lambda group: ratio_to_float(comparison, group, lambda one: counted(one, STATE)),
    )
    for name, values, words in (
        ("added parameters", added, lambda value: f"{value:.0f}"),
        ("training time", time, lambda value: f"{fixed(value)}×"),
        ("state of training", state, lambda value: f"{fixed(value)}×"),
    ):
        if any(values.values()):
            yield Line(name, [_range(own, words) for own in values.values()])


def _over_settings(
    comparison: Comparison, read: Callable[[Group], float | None]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for label in comparison.labels:
        groups = (comparison.groups.get((label, setting)) for setting in comparison.settings)
        values = (None if group is None else read(group) for group in groups)
        found[label] = [value for value in values if value is not None]
    return found


def _mean(values: pd.Series) -> float | None:
    return None if values.empty else float(values.mean())


def _range(values: Sequence[float], words: Callable[[float], str]) -> Entry:
    if not values:
        return Entry(NOTHING)
    low, high = words(min(values)), words(max(values))
    mean = math.fsum(values) / len(values)
    return Entry(low if low == high else f"{low} to {high}", value=mean)


def _notes(
    equal: Mapping[str, str], shared: Mapping[str, str], lines: Sequence[Line]
) -> Iterator[str]:
    if equal:
        yield f"Equal for all rows: {_listed(equal)}."
    told = {name: words for name, words in shared.items() if words}
    if told:
        yield f"“{SAME}” stands for the study's own recipe: {_listed(told)}."
    names = {line.name for line in lines}
    if "time of searches" in {*names, *equal}:
        yield (
            "Searches: one a round and setting, each of as many trials; float is tuned once for "
            "all bits. Trials and epochs are those spent so far, failed ones included, beside the "
            "final runs; what searches chose stands under Tuning."
        )
    if any(entry.text == NOTHING for line in lines for entry in line.entries):
        yield f"{NOTHING} stands where a factor does not apply to a row, or nothing was recorded."
    if names & {"added parameters", "training time", "state of training"}:
        yield (
            "Added parameters: trainable numbers of the quantizers. Training time: relative to the "
            "float network's of the same seed on the same kind of machine. State of training: "
            "bytes of parameters, buffers and the optimizers' state, relative to float. All from "
            "the least to the most over the settings of a row."
        )


def _listed(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {words}" for name, words in values.items())
