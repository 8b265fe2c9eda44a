"""The summary of what each row suffers from, marked by thresholds that were fixed beforehand."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.diagnosis import (
    GAPS,
    PREDICTION,
    Class,
    class_of,
    decibels,
    diagnosed,
    gap,
    measured,
)
from qbench.reporting.document import Entry, Mark, Table
from qbench.reporting.numbers import fixed
from qbench.reporting.tables import place

__all__ = ["LEGEND", "summary_table"]

LEGEND = (
    "Marks, by thresholds fixed beforehand: ✓ is a gap below −30 dB, r above 0.9 or a slope of 0.8 "
    "to 1.25; ✗ is a gap above −15 dB, r below 0.5, a descent below 0 or more than 10 % of codes "
    "oscillating. class, as measured: hard forward (the gap is exactly 0), or soft forward with an "
    "exact or a modified backward, by whether the gradient is that of the row's own forward. "
    "cost: accuracy of the training forward minus deployed on held-out images, in points. gap: "
    "squared distance of the training forward's values from the deployed ones, relative to these, "
    "the larger of weights and activations. r, slope, offset: actual against predicted change of "
    "the loss when 1 % of a layer's codes move. Jacobian: best agreement of the backward's slope "
    "with the density of thresholds, and the share of codes where it is. smoothed: cosine with the "
    "gradient smoothed over 5 % of codes. descent: actual over predicted fall of the loss when the "
    "update moves 1 % of codes. signal: gradient's signal to noise over batches. oscillating: "
    "share of codes. efficiency: net over total moves of codes. Brackets: 95 % interval, over "
    "seeds or, with fewer than 3, of the measurement. n/a: not defined or not measured. Means of "
    "layers and seeds at the last measurement."
)
CLASSES: dict[Class, str] = {
    "hard forward": "hard",
    "soft forward, exact backward": "soft, exact",
    "soft forward, modified backward": "soft, modified",
    "not measured": "not measured",
}
NOT_DEFINED = Entry("n/a", mark="none")


class Column(NamedTuple):
    """A column of the summary."""

    head: str
    names: tuple[str, ...]
    """The diagnostics of which it needs one; it is left out where no row has any."""
    entry: Callable[[Group], Entry]


def summary_table(comparison: Comparison, setting: Setting, key: str) -> Table | None:
    """The rows of one setting; nothing where no diagnostic of the table was measured."""
    names = {name for column in COLUMNS for name in column.names}
    groups = diagnosed(comparison, setting, *names)
    if not groups:
        return None
    columns = [column for column in COLUMNS if _any(groups, column.names)]
    rows = [
        (
            group.label,
            [
                column.entry(group) if _any([group], column.names) else NOT_DEFINED
                for column in columns
            ],
        )
        for group in groups
    ]
    heads = [(column.head,) for column in columns]
    caption = f"What each row suffers from; {place(setting)}."
    return Table(key, caption, "quantizer", heads, rows, LEGEND)


def _any(groups: Sequence[Group], names: Sequence[str]) -> bool:
    return any(
        name in result.final for group in groups for result in group.done.values() for name in names
    )


def _class(group: Group) -> Entry:
    found = class_of(group)
    return Entry(CLASSES[found], mark="none" if found == "not measured" else "")


def _gap(group: Group) -> Entry:
    size = gap(group)
    if math.isnan(size):
        return NOT_DEFINED
    if size == 0:
        return Entry("exactly 0", mark="good")
    level = decibels(size)
    return Entry(fixed(level, 1), mark="good" if level < -30 else "bad" if level > -15 else "")


def _jacobian(group: Group) -> Entry:
    best = measured(group, "gradient/jacobian_alignment_max")
    where = measured(group, "gradient/jacobian_alignment_at")
    if not best.n:
        return NOT_DEFINED
    return Entry(fixed(best.mean) + (f" at {100 * where.mean:.3g} %" if where.n else ""))


def _number(
    name: str,
    *,
    scale: float = 1.0,
    digits: int = 2,
    interval: bool = False,
    mark: Callable[[float], Mark] = lambda _: "",
) -> Callable[[Group], Entry]:
    """A column of one diagnostic; ``mark`` judges its mean."""

    def entry(group: Group) -> Entry:
        found = measured(group, name, scale)
        if not found.n:
            return NOT_DEFINED
        text = fixed(found.mean, digits)
        if interval and not math.isnan(found.half) and found.half:
            low, high = found.mean - abs(found.half), found.mean + abs(found.half)
            text += f" [{fixed(low, digits)}, {fixed(high, digits)}]"
        return Entry(text, mark=mark(found.mean))

    return entry


def _judge_r(r: float) -> Mark:
    return "good" if r > 0.9 else "bad" if r < 0.5 else ""


def _judge_slope(slope: float) -> Mark:
    return "good" if 0.8 <= slope <= 1.25 else ""


def _judge_descent(ratio: float) -> Mark:
    return "bad" if ratio < 0 else ""


def _judge_oscillating(percent: float) -> Mark:
    return "bad" if percent > 10 else ""


def _simple(head: str, name: str, mark: Callable[[float], Mark] = lambda _: "") -> Column:
    return Column(head, (name,), _number(name, mark=mark))


SLOPE, OFFSET = "gradient/flip_set_slope_1pct", "gradient/flip_set_offset_1pct"
OUTPUT, OSCILLATING = "output/accuracy_gap", "dynamics/oscillating"
COLUMNS = (
    Column("class", GAPS, _class),
    Column("cost", (OUTPUT,), _number(OUTPUT, scale=100, interval=True)),
    Column("gap (dB)", GAPS, _gap),
    Column("r", (PREDICTION,), _number(PREDICTION, interval=True, mark=_judge_r)),
    _simple("slope", SLOPE, _judge_slope),
    _simple("offset", OFFSET),
    Column("Jacobian", ("gradient/jacobian_alignment_max",), _jacobian),
    _simple("smoothed", "gradient/smoothed_alignment_5pct"),
    _simple("descent", "gradient/descent_ratio_1pct", _judge_descent),
    _simple("signal", "gradient/signal_to_noise"),
    Column(
        "oscillating (%)",
        (OSCILLATING,),
        _number(OSCILLATING, scale=100, digits=1, mark=_judge_oscillating),
    ),
    _simple("efficiency", "dynamics/flip_efficiency"),
)
