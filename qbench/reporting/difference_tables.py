"""What each row loses to its float network and gains on the baseline, setting by setting."""

from collections.abc import Callable

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.document import Entry, Table
from qbench.reporting.numbers import NOTHING, interval
from qbench.reporting.statistics import LEVEL, MINIMUM_SEEDS, Estimate
from qbench.reporting.tables import FULL_WIDTH, column_heads, parts

__all__ = ["difference_tables"]

LEGEND = (
    f"Means over seeds of differences within a seed; brackets: {100 * LEVEL:.0f} % t interval, "
    f"where {MINIMUM_SEEDS} or more seeds have both. Bold: the interval excludes 0, which is not "
    "corrected for the number of rows."
)


def difference_tables(comparison: Comparison) -> list[Table]:
    """A table against float and, where there is a baseline, one against that."""
    tables = []
    if comparison.floats:
        what = "What the row loses: the study's own float network minus it, in points of accuracy"
        tables += _tables(comparison, "drop", what, comparison.drop)
    if comparison.baseline:
        what = f"Deployed test accuracy minus that of {comparison.baseline}, in points"
        tables += _tables(comparison, "baseline", what, comparison.minus_baseline)
    return tables


def _tables(
    comparison: Comparison, key: str, what: str, difference: Callable[[Group], Estimate]
) -> list[Table]:
    labels = [
        label
        for label in comparison.labels
        if not comparison.is_float(label) and (key == "drop" or label != comparison.baseline)
    ]
    tables = []
    for number, settings in enumerate(parts(comparison.settings, FULL_WIDTH), 1):
        heads, constant = column_heads(settings, comparison.settings)
        rows = [
            (label, [_entry(comparison, label, setting, difference) for setting in settings])
            for label in labels
        ]
        if any(entry.value is not None for _, entries in rows for entry in entries):
            caption = f"{what}; {constant}." if constant else f"{what}."
            own = f"{key}-{number}"
            tables.append(Table(own, caption, "quantizer", heads, rows, LEGEND))
    return tables


def _entry(
    comparison: Comparison,
    label: str,
    setting: Setting,
    difference: Callable[[Group], Estimate],
) -> Entry:
    group = comparison.groups.get((label, setting))
    found = None if group is None else difference(group)
    if found is None or not found.n:
        return Entry(NOTHING)
    return Entry(interval(found, sign=True), bold=found.excludes_zero, value=found.mean)
