"""The cost table of a setting: what training took, and what the deployed network takes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.costs import (
    counted,
    deployed_bytes,
    diagnostics_share,
    peak_memory,
    ratio_to_float,
    relative_time,
)
from qbench.reporting.document import Entry, Table
from qbench.reporting.numbers import NOTHING, fixed, times
from qbench.reporting.statistics import estimate
from qbench.reporting.tables import place

__all__ = ["cost_table"]

LEGEND = (
    "Training time: wall time of the training steps relative to the study's own float network of "
    "the same seed, on the same kind of machine and device; mean of seeds, noisy where trials "
    "shared a machine. Kernels, host syncs: operator calls of one training step with its backward "
    "pass and update, and the times that the host waits for a result in it. Peak memory: what "
    "torch allocated on a GPU; on a CPU what the process held, with libraries and leftovers. Size: "
    "codes, codebooks and what stays float in the deployed file. Bit-operations of one image: "
    "multiply-accumulates (one multiplication with one addition; convolutions and linear layers "
    "only) times bits of the weight times bits of the input, 32 for float; they are no time. "
    "Brackets: times smaller than float. Diagnostics: share of the wall time. Added parameters: "
    "trainable numbers that the quantizers add."
)
BINARY = ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"))
DECIMAL = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))

Read = Callable[[Group], pd.Series]


class Column(NamedTuple):
    """A column: its name and what it shows of each row."""

    head: str
    entries: list[Entry]


def cost_table(comparison: Comparison, setting: Setting, key: str) -> Table | None:
    """The costs of every row of a setting; nothing where no trial is done.

    Costs that no trial recorded have no column, and a note names them.

    Args:
        comparison: What was run.
        setting: The model, data set and bits.
        key: The table's.
    """
    found = (comparison.groups.get((label, setting)) for label in comparison.labels)
    groups = [group for group in found if group is not None and group.done]
    if not groups:
        return None
    columns = list(_columns(comparison, groups))
    known = [one for one in columns if any(entry.text != NOTHING for entry in one.entries)]
    rows = [
        (group.label, [column.entries[number] for column in known])
        for number, group in enumerate(groups)
    ]
    heads = [(column.head,) for column in known]
    notes = [*_missing(columns, known), *_remarks(groups)]
    caption = f"Cost at {place(setting)}{_macs(groups)}."
    return Table(key, caption, "quantizer", heads, rows, LEGEND, notes)


def _columns(comparison: Comparison, groups: Sequence[Group]) -> Iterator[Column]:
    ratios = [estimate(relative_time(comparison, group).tolist()) for group in groups]
    yield Column("training time", [Entry(times(one), value=_value(one.mean)) for one in ratios])
    yield Column("kernels a step", _counts(groups, "kernels"))
    if any(counted(group, "host_syncs").any() for group in groups):
        yield Column("host syncs a step", _counts(groups, "host_syncs"))
    yield _sized("peak memory", groups, peak_memory, BINARY)
    size = _sized("size", groups, deployed_bytes, BINARY)
    yield _with_ratio(comparison, size, groups, deployed_bytes)
    bops = partial(counted, name="bops")
    yield _with_ratio(comparison, _sized("bit-operations", groups, bops, DECIMAL), groups, bops)
    shares = [_mean(diagnostics_share(group)) for group in groups]
    texts = [NOTHING if one is None else f"{fixed(100 * one, 1)} %" for one in shares]
    yield Column("diagnostics", [Entry(t, value=v) for t, v in zip(texts, shares, strict=True)])
    yield Column("added parameters", _counts(groups, "quantizer_parameters"))


def _counts(groups: Sequence[Group], name: str) -> list[Entry]:
    return [_whole(counted(group, name)) for group in groups]


def _whole(values: pd.Series) -> Entry:
    """A count, which seeds share; where they do not, from the smallest to the largest."""
    if values.empty:
        return Entry(NOTHING)
    low, high = int(values.min()), int(values.max())
    return Entry(f"{low}" if low == high else f"{low} to {high}", value=float(values.mean()))


def _sized(
    name: str, groups: Sequence[Group], read: Read, units: Sequence[tuple[float, str]]
) -> Column:
    """Means in one unit, of which the smallest is one at least."""
    means = [_mean(read(group)) for group in groups]
    smallest = min((mean for mean in means if mean), default=1.0)
    scale, unit = max((one for one in units if smallest >= one[0]), default=units[0])
    texts = [NOTHING if mean is None else _short(mean / scale) for mean in means]
    entries = [Entry(text, value=mean) for text, mean in zip(texts, means, strict=True)]
    return Column(f"{name} ({unit})" if unit else name, entries)


def _with_ratio(
    comparison: Comparison, column: Column, groups: Sequence[Group], read: Read
) -> Column:
    entries = []
    for group, entry in zip(groups, column.entries, strict=True):
        ratio = ratio_to_float(comparison, group, read)
        text = f"{entry.text} ({fixed(1 / ratio, 1)}×)" if ratio else entry.text
        entries.append(Entry(text, value=entry.value))
    return Column(column.head, entries)


def _short(value: float) -> str:
    return fixed(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def _mean(values: pd.Series) -> float | None:
    return None if values.empty else float(values.mean())


def _value(mean: float) -> float | None:
    return None if pd.isna(mean) else mean


def _macs(groups: Sequence[Group]) -> str:
    found = {value for group in groups for value in counted(group, "macs")}
    if len(found) != 1:
        return ""
    (macs,) = found
    scale, unit = max((one for one in DECIMAL if macs >= one[0]), default=DECIMAL[0])
    number = f"{fixed(macs / scale, 1)} {unit}" if unit else f"{macs:.0f}"
    return f"; {number} multiply-accumulates an image"


def _missing(columns: Sequence[Column], known: Sequence[Column]) -> Iterator[str]:
    names = [column.head.split(" (")[0] for column in columns if column not in known]
    if names:
        yield f"Not recorded by these trials: {', '.join(names)}."
    if any(entry.text == NOTHING for column in known for entry in column.entries):
        yield f"{NOTHING} stands for what a row's trials did not record, or cannot be compared in."


def _remarks(groups: Sequence[Group]) -> Iterator[str]:
    syncs = [counted(group, "host_syncs") for group in groups]
    if all(len(one) and not one.any() for one in syncs):
        yield "In no row does a training step make the host wait."
    left = {int(value) for group in groups for value in counted(group, "uncounted_layers")} - {0}
    if left:
        yield (
            f"{max(left)} layers are neither convolutions nor called linear layers; their "
            "multiply-accumulates are not counted, so the bit-operations are too few."
        )
