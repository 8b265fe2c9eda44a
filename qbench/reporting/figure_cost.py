"""What training costs: time relative to float, peak memory and kernels, one line a row and bits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.costs import counted, peak_memory, relative_time
from qbench.reporting.panels import titled
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_cost"]

LINE = 0.155
"""Inches of a line."""
FACTOR = 5.0
"""From here on, the largest value over the smallest asks for a logarithmic axis."""


class Panel(NamedTuple):
    """One kind of cost."""

    words: str
    read: Callable[[Comparison, Group], pd.Series]


PANELS = (
    Panel("training time (× float)", lambda comparison, group: relative_time(comparison, group)),
    Panel("peak memory (MiB)", lambda _, group: peak_memory(group) / 2**20),
    Panel("kernels a step", lambda _, group: counted(group, "kernels")),
)


def draw_cost(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set; nothing where no cost of a quantized row is known."""
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    groups = _groups(comparison, settings)
    reference = comparison.float_of(settings[0])
    panels = {}
    for panel in PANELS:
        read = partial(panel.read, comparison)
        values = [read(group) for group in groups]
        if any(len(one) for one in values):
            panels[panel.words] = values, None if reference is None else read(reference)
    if not panels:
        return None
    several = len({group.setting for group in groups}) > 1
    names = max(len(line) for group in groups for line in wrapped(group.label).splitlines())
    margin = 0.3 + 0.068 * names + (0.5 if several else 0)
    figure = new_figure(max(margin + 2.3 * len(panels), 4.8), 1.5 + LINE * max(len(groups), 5))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (words, (values, floats)) in zip(grid, panels.items(), strict=True):
        _draw(axes, groups, values, looks)
        _scale(axes, values, floats)
        _mark_float(axes, floats)
        axes.set_xlabel(words)
    _name_lines(grid[0], groups, several)
    titled(figure, pair, "what training costs", _how(panels))
    return figure


def _groups(comparison: Comparison, settings: Sequence[Setting]) -> list[Group]:
    """The quantized rows with a result, each with its bits below each other."""
    found = (
        comparison.groups.get((label, setting))
        for label in comparison.labels
        if not comparison.is_float(label)
        for setting in settings
    )
    return [group for group in found if group is not None and group.done]


def _draw(
    axes: Axes, groups: Sequence[Group], values: Sequence[pd.Series], looks: Mapping[str, Look]
) -> None:
    axes.grid(visible=False, axis="y")
    for line, (group, own) in enumerate(zip(groups, values, strict=True)):
        if own.empty:
            continue
        look, shown = looks[group.label], sorted(own.tolist())
        if len(shown) > 1 and shown[0] != shown[-1]:
            axes.plot(shown, [line] * len(shown), linestyle="", marker="|", markersize=6,
                      color=look.colour, alpha=0.8, zorder=2)  # fmt: skip
        axes.plot(own.mean(), line, linestyle="", marker=look.marker, markersize=5,
                  color=look.colour, zorder=3)  # fmt: skip
    labels = [group.label for group in groups]
    for number, label in enumerate(dict.fromkeys(labels)):
        if number % 2:
            start = labels.index(label)
            stop = start + labels.count(label)
            axes.axhspan(start - 0.5, stop - 0.5, color="0.95", linewidth=0, zorder=0)
    axes.set_ylim(len(groups) - 0.5, -0.5)


def _scale(axes: Axes, values: Sequence[pd.Series], floats: pd.Series | None) -> None:
    """A logarithmic axis where values lie far apart; else one that begins at zero."""
    every = [value for own in values for value in own]
    every += [] if floats is None or floats.empty else [float(floats.mean())]
    if min(every) > 0 and max(every) / min(every) > FACTOR:
        axes.set_xscale("log")
        axes.set_xlim(min(every) / 1.25, max(every) * 1.25)
        ticks = [step * 10.0**e for e in range(-3, 9) for step in (1, 2, 5)]
        inside = [tick for tick in ticks if min(every) / 1.25 <= tick <= max(every) * 1.25]
        axes.set_xticks(inside if len(inside) < 7 else inside[:: (len(inside) + 5) // 6])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    else:
        axes.set_xlim(0, 1.1 * max(every))
        axes.locator_params(axis="x", nbins=5)


def _mark_float(axes: Axes, floats: pd.Series | None) -> None:
    if floats is not None and len(floats):
        axes.axvline(float(floats.mean()), color="black", linestyle=(0, (6, 3)), linewidth=1)


def _name_lines(axes: Axes, groups: Sequence[Group], several: bool) -> None:
    """Rows' names at the left; with several bits each line has its bits, each row its name once."""
    labels = [group.label for group in groups]
    if not several:
        axes.set_yticks(range(len(groups)), [wrapped(label) for label in labels], fontsize=7.5)
        return
    axes.set_yticks(range(len(groups)), [group.setting.bits for group in groups], fontsize=6.5)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for label in dict.fromkeys(labels):
        middle = labels.index(label) + (labels.count(label) - 1) / 2
        axes.annotate(
            wrapped(label), (0, middle), (-40, 0), xycoords=beside, textcoords="offset points",
            ha="right", va="center", fontsize=7.5, annotation_clip=False,
        )  # fmt: skip


def _how(panels: Mapping[str, tuple[Sequence[pd.Series], pd.Series | None]]) -> str:
    seeds = max(len(own) for values, _ in panels.values() for own in values)
    floats = any(one is not None and len(one) for _, one in panels.values())
    words = ["marker: mean of seeds; strokes: seeds" if seeds > 1 else "one seed"]
    words += ["dashed: the float network"] if floats else []
    return "; ".join(words)
