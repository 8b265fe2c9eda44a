"""How much a row's accuracy depends on its knobs: the spread over the trials of its searches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Entry, Table
from qbench.reporting.knob_words import number_of, value_words
from qbench.reporting.numbers import NOTHING, fixed
from qbench.reporting.searches import RATE, Search
from qbench.reporting.tuning_tables import in_parts, named_groups
from qbench.study.spaces import Range

__all__ = ["Point", "Spread", "points", "sensitivity_tables", "spread"]

NEAR, FAR = 1.0, 5.0
"""Points below the best."""
NARROW, WIDE, ENOUGH = 3.0, 10.0, 10
"""A row is marked whose good learning rates lie within such a factor, of a range that spans at
least such a one, with so many trials."""


class Point(NamedTuple):
    """A trial of a search that ran to its end, or failed."""

    rate: float | None
    """The learning rate, where that is a number."""
    accuracy: float | None
    """On validation images, in percent; ``None`` of a trial that failed."""


class Spread(NamedTuple):
    """Of the trials of one row in one setting, over all rounds; accuracies in percent."""

    trials: int
    """Whole ones and those that failed."""
    failed: int
    best: float
    median: float
    low: float
    """A quarter of the whole trials lies below."""
    high: float
    """A quarter lies above."""
    near: int
    """Trials within ``NEAR`` points of the best."""
    far: int
    """Within ``FAR`` points."""
    rates: tuple[float, float] | None
    """The lowest and highest learning rate of those within ``FAR`` points."""


def points(comparison: Comparison, rounds: Sequence[Search]) -> list[Point]:
    """The trials of a row in a setting that ran to their end or failed, over all rounds."""
    found = []
    for search in rounds:
        for one in search.tried:
            if one.accuracy is not None or one.failed:
                rate = number_of(comparison.searches.value(one.attempt, RATE))
                found.append(Point(rate, one.accuracy))
    return found


def spread(found: Sequence[Point]) -> Spread | None:
    """What a table says of them; nothing where none has an accuracy."""
    values = [one.accuracy for one in found if one.accuracy is not None]
    if not values:
        return None
    best = max(values)
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    good = [one for one in found if one.accuracy is not None and best - one.accuracy <= FAR]
    rates = [one.rate for one in good if one.rate is not None]
    near = sum(best - value <= NEAR for value in values)
    ends = (min(rates), max(rates)) if rates else None
    failed = len(found) - len(values)
    return Spread(len(found), failed, best, median, low, high, near, len(good), ends)


def sensitivity_tables(comparison: Comparison) -> Iterator[Table]:
    """The spread of each row in each setting."""
    lines, shared = named_groups(comparison)
    rated = any(RATE in own for own in comparison.searches.spaces.values())
    rows = [(name, _entries(comparison, rounds, rated)) for name, rounds in lines]
    caption = "Sensitivity: validation accuracy in percent over the trials of all rounds" + (
        f"; {shared}" if shared else ""
    )
    columns = [
        "trials", "best", "median", "quartiles", "within 1 (%)", "within 5 (%)",
        "failed (%)", *(["learning rates"] if rated else []),
    ]  # fmt: skip
    legend = (
        "Trials that ran to their end, and those that failed; what a scheduler ended earlier is "
        "left out. Within: the share of them within so many points of the row's best. "
        "Learning rates: the lowest and highest of the trials within 5 points of the best, and "
        "their ratio."
    )
    narrow = any(entry.mark == "bad" for _, entries in rows for entry in entries)
    note = (
        f"Marked bad: learning rates that lie within a factor of {NARROW:g} of each other, of a "
        f"range that spans {WIDE:g} or more, over {ENOUGH} trials or more: the row works near one "
        "learning rate only."
    )
    notes = [note] if narrow else []
    yield from in_parts("sensitivity", caption, columns, rows, legend, notes)


def _entries(comparison: Comparison, rounds: Sequence[Search], rated: bool) -> list[Entry]:
    every = points(comparison, rounds)
    found = spread(every)
    if found is None:
        text = "all failed" if every else NOTHING
        return [
            Entry(str(len(every)), value=len(every)),
            Entry(text),
            *[Entry(NOTHING)] * (5 + rated),
        ]
    entries = [
        Entry(str(found.trials), value=found.trials),
        Entry(fixed(found.best), value=found.best),
        Entry(fixed(found.median), value=found.median),
        Entry(f"{fixed(found.low)} to {fixed(found.high)}", value=found.high - found.low),
        *(_share(count, found.trials) for count in (found.near, found.far, found.failed)),
    ]
    return [*entries, _rates(comparison, rounds[0].label, found)] if rated else entries


def _share(count: int, whole: int) -> Entry:
    share = 100 * count / whole
    return Entry(fixed(share, 0), value=share)


def _rates(comparison: Comparison, label: str, found: Spread) -> Entry:
    space = comparison.searches.spaces[label].get(RATE)
    if found.rates is None or space is None:
        return Entry(NOTHING)
    low, high = found.rates
    ratio = high / low if low > 0 else np.inf
    spans = isinstance(space, Range) and space.low > 0 and space.high / space.low >= WIDE
    narrow = spans and ratio <= NARROW and found.trials >= ENOUGH
    text = value_words(low)
    if high > low:
        text += f" to {value_words(high)} ({ratio:.3g}×)"
    return Entry(text, mark="bad" if narrow else "", value=float(ratio))
