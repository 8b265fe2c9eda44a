"""Learning curves: accuracy over epochs, the mean of seeds in a band from lowest to highest."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from qbench.reporting.collect import CURVES
from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.panels import titled
from qbench.reporting.style import Look, legend_width, new_figure, wrapped

__all__ = ["draw_curves"]

MARKS = 8
"""Markers along a curve."""


def draw_curves(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set, a panel for each bit setting."""
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    panels = {setting: _groups(comparison, setting) for setting in settings}
    panels = {setting: groups for setting, groups in panels.items() if groups}
    name = _curve_name([group for groups in panels.values() for group in groups])
    if name is None:
        return None
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    labels = [label for label in comparison.labels if _has(panels, label)]
    width = max(0.6 + 3.0 * columns, 4.2) + legend_width(labels)
    figure = new_figure(width, max(0.8 + 2.7 * rows, 1.2 + 0.19 * len(labels)))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (setting, groups) in zip(grid.flat, panels.items(), strict=False):
        for index, group in enumerate(groups):
            _draw(axes, group, name, looks[group.label], index / len(groups))
        axes.set_title(setting.bits)
    _label(figure, list(grid.flat), len(panels), columns, pair, name)
    handles = [_handle(label, looks[label]) for label in labels]
    figure.legend(handles=handles, loc="outside right center")
    return figure


def _has(panels: Mapping[Setting, Sequence[Group]], label: str) -> bool:
    return any(group.label == label for groups in panels.values() for group in groups)


def _groups(comparison: Comparison, setting: Setting) -> list[Group]:
    found = (comparison.groups.get((label, setting)) for label in comparison.labels)
    return [group for group in found if group is not None and group.done]


def _curve_name(groups: Sequence[Group]) -> str | None:
    """Validation accuracy where every trial has it, else training accuracy."""
    results = [result for group in groups for result in group.done.values()]
    for name in CURVES:
        if results and all(name in result.curves for result in results):
            return name
    return None


def _draw(axes: Axes, group: Group, name: str, look: Look, phase: float) -> None:
    series = {seed: pd.Series(result.curves[name]) for seed, result in group.done.items()}
    frame = 100 * pd.DataFrame(series).sort_index()
    step = max(len(frame) // MARKS, 1)
    axes.plot(
        frame.index, frame.mean(axis=1), color=look.colour, linestyle=look.line,
        marker=look.marker or None, markevery=(int(phase * step), step), markersize=4,
        markeredgecolor="white", markeredgewidth=0.3,
    )  # fmt: skip
    if len(series) > 1:
        low, high = frame.min(axis=1), frame.max(axis=1)
        axes.fill_between(frame.index, low, high, color=look.colour, alpha=0.15, linewidth=0)


def _handle(label: str, look: Look) -> Line2D:
    return Line2D(
        [], [], color=look.colour, linestyle=look.line, marker=look.marker or None, markersize=4,
        label=wrapped(label),
    )  # fmt: skip


def _label(
    figure: Figure,
    grid: Sequence[Axes],
    panels: int,
    columns: int,
    pair: tuple[str, str],
    name: str,
) -> None:
    what = "validation" if name == CURVES[0] else "training"
    titled(figure, pair, f"{what} accuracy", "line: mean of seeds; band: lowest to highest")
    for index, axes in enumerate(grid):
        if index >= panels:
            axes.set_visible(False)
            continue
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if index + columns >= panels:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel(f"{what} accuracy (%)")
