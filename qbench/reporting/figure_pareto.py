"""Accuracy against cost: what each row reaches with how many bytes and how many bit-operations."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.cost_table import BINARY, DECIMAL, Read
from qbench.reporting.costs import counted, deployed_bytes
from qbench.reporting.panels import handles, titled
from qbench.reporting.spread import EDGE, FLOAT_ROOM, Spread, spread
from qbench.reporting.statistics import Estimate
from qbench.reporting.style import Look, legend_width, new_figure

__all__ = ["draw_pareto", "non_dominated"]

SAME = 1.05
"""Costs within this factor are one cost: codebooks differ by a few bytes."""
TICK_ROOM = 0.42
"""Inches from a tick to the next."""
TICKS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
BLACK = "#000000"


class Point(NamedTuple):
    """A row at one pair of bit-widths."""

    label: str
    bits: str
    cost: float
    accuracy: Estimate


class Panel(NamedTuple):
    """One kind of cost."""

    words: str
    units: tuple[tuple[float, str], ...]
    read: Read


PANELS = (
    Panel("deployed size", BINARY, deployed_bytes),
    Panel("bit-operations of one image", DECIMAL, partial(counted, name="bops")),
)


def draw_pareto(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set; nothing where no quantized row has a known cost."""
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    found = [(panel, _points(comparison, settings, panel.read)) for panel in PANELS]
    panels = [(panel, points) for panel, points in found if points]
    if not panels:
        return None
    present = {point.label for _, points in panels for point in points}
    labels = [label for label in comparison.labels if label in present]
    width = min(3.2 + 0.055 * max(len(points) for _, points in panels), 6.5)
    figure = new_figure(
        0.6 + width * len(panels) + legend_width(labels), max(4.2, 2.2 + 0.24 * len(labels))
    )
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    reference = comparison.float_of(settings[0])
    shows = reference is not None and reference.accuracy_estimate.n > 0
    for axes, (panel, points) in zip(grid, panels, strict=True):
        _draw(axes, panel, points, width, looks)
        if shows and reference is not None:
            _draw_float(axes, panel, reference)
    grid[0].set_ylabel("deployed test accuracy (%)")
    figure.legend(handles=_handles(labels, looks, floats=shows), loc="outside right center")
    titled(figure, pair, "deployed accuracy against cost", _how(panels))
    return figure


def non_dominated(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """The places of the points that none beats: cheaper ones are all less accurate.

    Args:
        costs: Lower is better.
        accuracies: Higher is better.

    Returns:
        Places by rising cost; of equal points the first.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -accuracies[place]))
    front: list[int] = []
    for place in order:
        if not front or accuracies[place] > accuracies[front[-1]]:
            front.append(place)
    return front


def _points(comparison: Comparison, settings: Sequence[Setting], read: Read) -> list[Point]:
    """The quantized rows with a known cost, by cost; nearly equal costs are made equal."""
    groups = (
        comparison.groups.get((label, setting))
        for setting in settings
        for label in comparison.labels
        if not comparison.is_float(label)
    )
    found = [
        Point(group.label, group.setting.bits, float(cost.mean()), group.accuracy_estimate)
        for group in groups
        if group is not None and group.accuracy_estimate.n and (cost := read(group)).gt(0).any()
    ]
    found.sort(key=lambda point: point.cost)
    level, points = 0.0, []
    for point in found:
        level = level if point.cost < SAME * level else point.cost
        points.append(point._replace(cost=level))
    order = {setting.bits: number for number, setting in enumerate(settings)}
    rank = {label: number for number, label in enumerate(comparison.labels)}
    return sorted(points, key=lambda one: (one.cost, order[one.bits], rank[one.label]))


def _draw(
    axes: Axes, panel: Panel, points: Sequence[Point], width: float, looks: Mapping[str, Look]
) -> None:
    costs = [point.cost for point in points]
    placed = spread(costs, width)
    front = non_dominated(costs, [point.accuracy.mean for point in points])
    axes.step(
        [placed.places[index] for index in front],
        [points[index].accuracy.mean for index in front],
        where="post", color="0.45", linewidth=0.8, zorder=1,
    )  # fmt: skip
    for index, point in enumerate(points):
        look = looks[point.label]
        _draw_point(axes, placed.places[index], point.accuracy, look, filled=index in front)
    axes.set_xlim(0, width)
    _head(axes, points, placed)
    _label(axes, panel, costs, placed, width)


def _draw_point(
    axes: Axes, x: float, found: Estimate, look: Look, *, filled: bool, size: float = 5
) -> None:
    axes.errorbar(
        x, found.mean, yerr=found.half_width if found.has_interval else None, linestyle="",
        color=look.colour, marker=look.marker, markersize=size, capsize=1.5, elinewidth=0.8,
        markerfacecolor=look.colour if filled else "white", markeredgewidth=1.0, zorder=3,
    )  # fmt: skip


def _draw_float(axes: Axes, panel: Panel, reference: Group) -> None:
    """A star in a strip at the right: the float network costs too much for the axis."""
    _, right = axes.get_xlim()
    left, middle = right - FLOAT_ROOM, right - FLOAT_ROOM / 2
    axes.axvspan(left, right, color="0.93", linewidth=0, zorder=0)
    _draw_point(axes, middle, reference.accuracy_estimate, Look(BLACK, "*", ""), filled=True,
                size=10)  # fmt: skip
    known = panel.read(reference)
    if len(known):
        scale, unit = _unit(panel, known.mean())
        text = f"at {known.mean() / scale:.3g} {unit}".strip()
        axes.annotate(
            text, (middle, 0.0), (0, -5), ha="center", va="top", fontsize=6.5,
            xycoords=axes.get_xaxis_transform(), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip


def _head(axes: Axes, points: Sequence[Point], placed: Spread) -> None:
    """Write above the panel which bits stand below."""
    blocks: dict[tuple[float, str], list[float]] = {}
    for point, place in zip(points, placed.places, strict=True):
        blocks.setdefault((point.cost, point.bits), []).append(place)
    last = -1.0
    for (_, bits), places in blocks.items():
        last = max(sum(places) / len(places), last + EDGE)
        axes.annotate(
            bits, (last, 1.0), (0, 3), ha="center", va="bottom", fontsize=6.5, rotation=90,
            xycoords=axes.get_xaxis_transform(), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip


def _unit(panel: Panel, cost: float) -> tuple[float, str]:
    return max((one for one in panel.units if cost >= one[0]), default=panel.units[0])


def _label(axes: Axes, panel: Panel, costs: Sequence[float], placed: Spread, width: float) -> None:
    scale, unit = _unit(panel, costs[0])
    axes.set_xlabel(f"{panel.words} ({unit})" if unit else panel.words)
    ends = placed.cost_at(EDGE), placed.cost_at(width - FLOAT_ROOM - EDGE)
    ticks = _ticks(*ends, scale, placed)
    if len(ticks) < 2:  # so small a range holds no round numbers
        ticks = sorted({costs[0], costs[-1]})
    names = {placed.inches(tick): f"{tick / scale:.4g}" for tick in ticks}
    axes.set_xticks(list(names), list(names.values()))


def _ticks(low: float, high: float, scale: float, placed: Spread) -> list[float]:
    """Round multiples of ``scale`` between the two, as many as can be read."""
    exponents = range(math.floor(math.log10(low / scale)), math.ceil(math.log10(high / scale)) + 1)
    inside: list[float] = []
    for steps in TICKS:
        every = (step * 10.0**exponent * scale for exponent in exponents for step in steps)
        inside = [tick for tick in every if low <= tick <= high]
        places = [placed.inches(tick) for tick in inside]
        if all(right - left >= TICK_ROOM for left, right in pairwise(places)):
            break
    return inside


def _handles(labels: Sequence[str], looks: Mapping[str, Look], *, floats: bool) -> list[Line2D]:
    found = handles(labels, looks, line=False)
    if floats:
        found.append(Line2D([], [], color=BLACK, marker="*", markersize=9, linestyle="",
                            label="float"))  # fmt: skip
    found.append(Line2D([], [], color="0.45", linewidth=0.8, label="front of means"))
    return found


def _how(panels: Sequence[tuple[Panel, Sequence[Point]]]) -> str:
    points = [point for _, found in panels for point in found]
    bars = "; bars: 95 % t interval" if any(one.accuracy.has_interval for one in points) else ""
    return (
        f"mean of seeds{bars}; filled: no mean of this cost or less is as high\n"
        "rows of equal cost (within 5 %) stand side by side; above: bits of weights and activations"
    )
