"""The diagnosis map: how far training is from deployment, and how wrong its gradient is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.diagnosis import PREDICTION, decibels, gap, gap_at, measured
from qbench.reporting.panels import handles, of_pair, shared_labels, titled
from qbench.reporting.point_names import Box, Spot, name_points
from qbench.reporting.style import Look, legend_width, new_figure

__all__ = ["draw_map", "place_of"]

PANEL = (3.6, 3.1)
"""Inches of a panel with its labels."""
Pair = tuple[str, str]
GAP_GOOD, GAP_BAD = -30.0, -15.0
MISS_GOOD, MISS_BAD = 0.1, 0.5
"""The thresholds of the summary table; between them lies the grey band."""
LEFT, RIGHT = -58.0, 12.0
"""The gaps that the axis shows, in dB; one beyond stands near its end."""
STRIP = (-92.0, -62.0)
"""Where gaps of exactly 0 stand, on the axis of dB."""
LOW, HIGH = 0.0025, 2.2
VERDICTS = (
    (0.0, 0.0, 0.23, 0.08), (0.0, 0.92, 0.42, 1.0), (0.69, 0.0, 1.0, 0.14), (0.87, 0.92, 1.0, 1.0),
)  # fmt: skip
"""Where the words in the corners are, in shares of the axes."""
AREAS = (22.0, 180.0)
"""Of the markers, in square points, for no error and for the largest."""


class Place(NamedTuple):
    """Where a row stands at one moment."""

    gap: float
    """In dB; minus infinity for 0."""
    miss: float
    """1 minus the correlation of predicted and actual loss changes."""


def place_of(group: Group, *, first: bool = False) -> Place | None:
    """A row's place at the last, or at the first, measurement of training; mean of seeds."""
    if not first:
        found, size = measured(group, PREDICTION), gap(group)
        missing = not found.n or math.isnan(size)
        return None if missing else Place(decibels(size), 1 - found.mean)
    curves = [(r, r.curves[PREDICTION]) for r in group.done.values() if PREDICTION in r.curves]
    sizes = [gap_at(result, min(curve)) for result, curve in curves]
    if not curves or any(math.isnan(size) for size in sizes):
        return None
    misses = [1 - curve[min(curve)] for _, curve in curves]
    return Place(decibels(float(np.mean(sizes))), float(np.mean(misses)))


def draw_map(comparison: Comparison, pair: Pair, looks: Mapping[str, Look]) -> Figure | None:
    """The map of one model and data set; nothing where flip sets or gaps were not measured."""
    measured_rows = of_pair(comparison, pair, PREDICTION)
    labels = shared_labels(comparison, measured_rows)
    panels = {
        setting: [group for group in rows if group.label in labels and place_of(group)]
        for setting, rows in measured_rows.items()
    }
    panels = {setting: rows for setting, rows in panels.items() if rows}
    if not panels:
        return None
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    inside = len(panels) % columns == 1 and len(panels) > 1  # an empty place holds the legend
    width = PANEL[0] * columns + (0.0 if inside else legend_width([*labels, *"0" * 24]))
    figure = new_figure(
        width, max(0.9 + PANEL[1] * rows, 0 if inside else 2.6 + 0.19 * len(labels))
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    largest = max(_error(group) for groups in panels.values() for group in groups)
    for index, (axes, (setting, groups)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        _backdrop(axes)
        _draw_rows(axes, groups, looks, largest)
        axes.set_title(setting.bits)
        if index + columns >= len(panels):
            axes.set_xlabel("train-to-deploy gap (dB)")
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel("gradient mismatch: 1 − r at 1 % flips")
    legend = [*handles(labels, looks, line=False), *_key(largest)]
    if inside:
        grid[-1, -1].set_axis_off()
        grid[-1, -1].legend(handles=legend, loc="center", labelspacing=0.7)
    else:
        figure.legend(handles=legend, loc="outside right center", labelspacing=0.7)
    titled(figure, pair, "who suffers from what", "bars: 95 %, over seeds or of the measurement")
    return figure


def _error(group: Group) -> float:
    return 100 - group.accuracy_estimate.mean


def _area(error: float, largest: float) -> float:
    return AREAS[0] + (AREAS[1] - AREAS[0]) * error / max(largest, 1e-9)


def _backdrop(axes: Axes) -> None:
    """The strip of hard forwards, the grey band between the thresholds, and the verdicts."""
    axes.set_yscale("log")
    axes.set_xlim(STRIP[0], RIGHT)
    axes.set_ylim(LOW, HIGH)
    axes.grid(visible=False)
    axes.axhspan(MISS_GOOD, MISS_BAD, color="0.93", linewidth=0, zorder=0)
    axes.axvspan(GAP_GOOD, GAP_BAD, color="0.93", linewidth=0, zorder=0)
    axes.axvline(STRIP[1], color="0.3", linewidth=0.8, zorder=1)
    axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    axes.minorticks_off()
    ticks = (-50, -40, -30, -20, -10, 0)
    axes.set_xticks(
        [sum(STRIP) / 2, *ticks], ["exactly 0", *(f"−{-t}" if t else "0" for t in ticks)]
    )
    axes.tick_params(length=3, color="0.6", bottom=True, left=True)
    words = (
        (0.02, 0.015, "left", "bottom", "healthy"),
        (0.02, 0.985, "left", "top", "gradient mismatch"),
        (0.985, 0.015, "right", "bottom", "discretization\nerror"),
        (0.985, 0.985, "right", "top", "both"),
    )
    for x, y, across, up, text in words:
        axes.text(
            x, y, text, transform=axes.transAxes, ha=across, va=up, fontsize=8.5, color="0.3",
            style="italic", weight="bold", zorder=1.5,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip


def _draw_rows(
    axes: Axes, groups: Sequence[Group], looks: Mapping[str, Look], largest: float
) -> None:
    hard = [group.label for group in groups if gap(group) == 0]
    edge = (STRIP[1] - STRIP[0]) / (RIGHT - STRIP[0])
    spots, others = [], [*VERDICTS, (edge - 0.005, 0.0, edge + 0.005, 1.0)]
    for group in sorted(groups, key=_error, reverse=True):  # small markers over large ones
        last = place_of(group)
        if last is None:
            continue
        share = (hard.index(group.label) + 0.5) / len(hard) if group.label in hard else 0.5
        x, y = _across(last.gap, share), _up(last.miss)
        half = measured(group, PREDICTION).half
        half = 0.0 if math.isnan(half) else half
        low, high = _up(last.miss - half), _up(last.miss + half)
        colour, area = looks[group.label].colour, _area(_error(group), largest)
        first = place_of(group, first=True)
        if first is not None and first != last:
            start = (_across(first.gap, share), _up(first.miss))
            _draw_arrow(axes, start, (x, y), colour, area)
            others += _along(_inside(*start), _inside(x, y))
        if half:
            ends = [[y - low], [high - y]]
            axes.errorbar(x, y, yerr=ends, color=colour, capsize=2, linewidth=1, zorder=3)
        axes.scatter(
            x, y, s=area, color=colour, marker=looks[group.label].marker, edgecolor="white",
            linewidth=0.7, zorder=4,
        )  # fmt: skip
        across, middle = _inside(x, y)
        least, most = _inside(x, low)[1], _inside(x, high)[1]
        upright = last.gap == -math.inf and len(hard) > 1
        spots.append(Spot(group.label, across, middle, least, most, area**0.5 / 2, upright))
    name_points(axes, spots, 72 * (PANEL[0] - 0.6), 72 * (PANEL[1] - 0.6), others)


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, area: float
) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "alpha": 0.5, "linewidth": 1.1, "shrinkA": 0}
    look["shrinkB"] = area**0.5 / 2
    axes.annotate("", xy=end, xytext=start, zorder=2, arrowprops=look)


def _inside(x: float, y: float) -> tuple[float, float]:
    """A place in shares of the axes."""
    return (x - STRIP[0]) / (RIGHT - STRIP[0]), math.log(y / LOW) / math.log(HIGH / LOW)


def _along(start: tuple[float, float], end: tuple[float, float]) -> Iterator[Box]:
    """Small boxes over a line, in shares of the axes."""
    for x, y in np.linspace(start, end, 12):
        yield (x - 0.006, y - 0.006, x + 0.006, y + 0.006)


def _across(size: float, share: float) -> float:
    """The place on the axis; rows in the strip stand side by side."""
    if size == -math.inf:
        return STRIP[0] + (STRIP[1] - STRIP[0]) * (0.06 + 0.88 * share)
    return min(max(size, LEFT), RIGHT - 5)


def _up(miss: float) -> float:
    return min(max(miss, LOW * 1.15), HIGH)


def _key(largest: float) -> list[Line2D]:
    """What size, arrow and grey mean."""
    sizes = [
        Line2D(
            [], [], linestyle="", marker="o", color="0.6", markersize=_area(error, largest) ** 0.5,
            label=f"{error:.0f} % deployed error",
        )
        for error in (largest / 4, largest)
    ]  # fmt: skip
    arrow = Line2D(
        [], [], color="0.4", marker=">", markevery=[-1], label="since the first measurement"
    )
    return [*sizes, arrow]
