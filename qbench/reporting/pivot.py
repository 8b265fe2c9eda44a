"""One table of a study with axes and a metric of the reader's choice."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from qbench.errors import UsageError, unknown
from qbench.reporting.collect import ACCURACY
from qbench.reporting.compare import Comparison, Group
from qbench.reporting.document import Entry, Table
from qbench.reporting.files import frames_written, parts_written, writing
from qbench.reporting.markdown import render_terminal
from qbench.reporting.numbers import NOTHING, plus_minus, scientific
from qbench.reporting.stamp import Report
from qbench.reporting.statistics import estimate
from qbench.study.plan import Plan

__all__ = ["AXES", "pivot", "pivot_frame", "write_pivot"]

AXES = ("quantizer", "model", "data", "bits", "weight_bits", "activation_bits", "seed")
"""What rows and columns can be made of; seeds are averaged unless they are named."""
_WITHIN = {"bits": ("weight_bits", "activation_bits")}
"""An axis that says what others say together."""
_SHARES = ("accuracy", "test/gap", "accuracy_reestimated", "accuracy_training_forward")
"""Endings of metrics that are shares of images, printed in percent."""


def pivot_frame(comparison: Comparison, metric: str) -> pd.DataFrame:
    """Every value of a metric with its place on each axis.

    Args:
        comparison: The study's results; ablation rows stand as quantizers.
        metric: A name of a history (its last value counts), or ``seconds/<phase>``.

    Returns:
        Columns of ``AXES`` and ``value``. A float network stands at all bits of its model and data.

    Raises:
        UsageError: No trial has the metric.
    """
    rows = [
        (*_place(group), seed, value)
        for group in comparison.groups.values()
        for seed, value in _values(group, metric).items()
    ]
    if not rows and not any(group.done for group in comparison.groups.values()):
        raise UsageError("no trial of the study has a result yet; run it first")
    if not rows:
        raise UsageError(unknown("metric", metric, metrics(comparison)))
    return pd.DataFrame(rows, columns=[*AXES, "value"])


def metrics(comparison: Comparison) -> list[str]:
    """What trials of the study have, in alphabetical order."""
    done = [found for found in comparison.trials.values() if found.state == "done"]
    names = {name for found in done for name in found.final}
    return sorted(names | {f"seconds/{phase}" for found in done for phase in found.seconds})


def _values(group: Group, metric: str) -> pd.Series:
    if metric.startswith("seconds/"):
        return group.seconds(metric.removeprefix("seconds/"))
    return group.values(metric, 100.0 if metric.endswith(_SHARES) else 1.0)


def _place(group: Group) -> tuple[str, str, str, str, int, int]:
    model, data, bits = group.setting
    widths = re.fullmatch(r"W(\d+)A(\d+)", bits)
    weight, activation = (int(widths[1]), int(widths[2])) if widths else (0, 0)
    return group.label, model, data, bits, weight, activation


def pivot(
    comparison: Comparison, rows: Sequence[str], columns: Sequence[str], metric: str
) -> Table:
    """The table: the mean over seeds, with its deviation and their number.

    Args:
        comparison: The study's results.
        rows: Axes whose values name the rows, outermost first.
        columns: Axes whose values name the columns.
        metric: See :func:`pivot_frame`.

    Raises:
        UsageError: An axis or the metric is unknown, an axis is named twice, or an axis that varies
            is in neither, so that a cell would mix what must not be averaged.
    """
    chosen = [*rows, *columns]
    for axis in chosen:
        if axis not in AXES:
            raise UsageError(unknown("axis", axis, AXES))
        if chosen.count(axis) > 1:
            raise UsageError(f"the axis '{axis}' is named twice; name it in rows or in columns")
    if not rows or not columns:
        raise UsageError(f"rows and columns each need an axis; there are {', '.join(AXES)}")
    frame = pivot_frame(comparison, metric)
    _refuse_mixture(frame, chosen)
    heads = [_words(values) for values in _in_order(frame, columns)]
    cells = dict(iter(frame.groupby(chosen, sort=False)["value"]))
    body = [
        (
            " · ".join(_words(row)),
            [_entry(cells.get((*row, *column)), metric) for column in _in_order(frame, columns)],
        )
        for row in _in_order(frame, rows)
    ]
    unit = " in percent" if metric.endswith(_SHARES) else ""
    what = "the value of each seed" if "seed" in chosen else "mean ± standard deviation (seeds)"
    return Table("pivot", f"{metric}{unit}: {what}.", " · ".join(rows), heads, body)


def _refuse_mixture(frame: pd.DataFrame, chosen: Sequence[str]) -> None:
    told = {*chosen, "seed"}.union(*(_WITHIN.get(axis, ()) for axis in chosen))
    if {"weight_bits", "activation_bits"} <= told:
        told.add("bits")
    for axis in AXES:
        values = frame[axis].unique()
        if axis in told or len(values) < 2 or (axis in _WITHIN["bits"]):
            continue
        listing = ", ".join(str(value) for value in values[:6])
        raise UsageError(
            f"the axis '{axis}' varies ({listing}) and is in neither --rows nor --columns, so that "
            "cells would mix settings; add it to one of them, or leave one value of it in the study"
        )


def _in_order(frame: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The combinations that there are, in the study's order; numbers ascend."""
    seen = frame[list(axes)].drop_duplicates()
    numbers = [axis for axis in axes if axis in ("weight_bits", "activation_bits", "seed")]
    if numbers and len(numbers) == len(axes):
        seen = seen.sort_values(numbers)
    yield from seen.itertuples(index=False, name=None)


def _words(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _entry(values: pd.Series | None, metric: str) -> Entry:
    if values is None:
        return Entry(NOTHING)
    found = estimate(values.tolist())
    if metric.endswith(_SHARES) or metric.startswith("seconds/"):
        text = plus_minus(found)
    else:
        text = scientific(found)
    return Entry(f"{text} ({found.n})" if found.n > 1 else text, value=found.mean)


def write_pivot(
    plan: Plan,
    results: Path,
    folder: Path,
    formats: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    metric: str | None,
) -> Report:
    """Write the table into the folder ``pivot`` of the report's.

    Raises:
        UsageError: See :func:`pivot`; or the folder cannot be written.
    """
    comparison, name = Comparison(plan, results), metric or ACCURACY
    table = pivot(comparison, rows, columns, name)
    with writing(folder):
        own = folder / "pivot"
        own.mkdir(exist_ok=True)
        written = [*parts_written(own, [table], formats, f"{plan.study.study}: {name}")]
        written += frames_written(own, {"values": pivot_frame(comparison, name)}, formats)
    return Report(own, render_terminal([table]), "", tuple(sorted(written)))
