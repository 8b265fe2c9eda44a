"""Annealing over training: the temperature above the gap, the gradient's size and its worth."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.diagnosis import GAPS, PREDICTION
from qbench.reporting.panels import handles, of_pair, shared_labels, titled
from qbench.reporting.style import Look, legend_width, new_figure

__all__ = ["draw_timeline"]

NORM = "gradient/latent_norm"
TEMPERATURES = ("weight/temperature", "activation/temperature")


def draw_timeline(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The strips of one model and data set, of the rows that tell a temperature."""
    panels = of_pair(comparison, pair, *TEMPERATURES)
    if not panels:
        return None
    labels = shared_labels(comparison, panels)
    present = [group for own in panels.values() for group in own if group.label in labels]
    strips = [s for s in STRIPS if any(s.read(group).notna().any(axis=None) for group in present)]
    width = max(0.8 + 2.1 * len(panels), 3.2) + legend_width(labels)
    figure = new_figure(width, 1.0 + 1.35 * len(strips))
    grid = figure.subplots(len(strips), len(panels), sharex="col", sharey="row", squeeze=False)
    for column, (setting, groups) in enumerate(panels.items()):
        grid[0, column].set_title(setting.bits)
        grid[-1, column].set_xlabel("epoch")
        for axes, strip in zip(grid[:, column], strips, strict=True):
            for group in groups:
                if group.label in labels:
                    _draw(axes, strip.read(group), looks[group.label])
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    for line, strip in zip(grid, strips, strict=True):
        line[0].set_ylabel(strip.words)
        _scale(line, strip.logarithmic)
    figure.align_ylabels(grid[:, 0])
    figure.legend(handles=handles(labels, looks, line=True), loc="outside right center")
    titled(figure, pair, "annealing over training", "mean of seeds; band: lowest to highest")
    return figure


def _curves(group: Group, *names: str) -> pd.DataFrame:
    """The first of the names that a trial has, an epoch in each row and a seed in each column."""
    found = {}
    for seed, result in sorted(group.done.items()):
        own = [result.curves[name] for name in names if name in result.curves]
        if own:
            found[seed] = pd.Series(own[0], dtype=float)
    return pd.DataFrame(found).sort_index()


def _temperature(group: Group) -> pd.DataFrame:
    return _curves(group, *TEMPERATURES)


def _gap(group: Group) -> pd.DataFrame:
    both = [_curves(group, name) for name in GAPS]
    larger = both[0].combine(both[1], np.fmax) if both[1].size else both[0]
    return 10 * np.log10(larger.where(larger > 0))


def _prediction(group: Group) -> pd.DataFrame:
    return _curves(group, PREDICTION)


def _norm(group: Group) -> pd.DataFrame:
    found = _curves(group, NORM)
    return found.where(found > 0)


class Strip(NamedTuple):
    """One line of panels."""

    words: str
    read: Callable[[Group], pd.DataFrame]
    logarithmic: float = math.inf
    """The largest over the smallest value from which the axis is logarithmic."""


STRIPS = (
    Strip("temperature", _temperature, 10.0),
    Strip("gap (dB)", _gap),
    Strip("norm of g", _norm, 1.0),
    Strip("r at 1 % flips", _prediction),
)


def _draw(axes: Axes, frame: pd.DataFrame, look: Look) -> None:
    if not frame.size:
        return
    mean = frame.mean(axis=1)
    axes.plot(
        mean.index, mean, color=look.colour, linestyle=look.line, marker=look.marker or None,
        markevery=max(len(mean) // 6, 1), markersize=4, markeredgecolor="white",
        markeredgewidth=0.3,
    )  # fmt: skip
    if frame.shape[1] > 1:
        low, high = frame.min(axis=1), frame.max(axis=1)
        axes.fill_between(mean.index, low, high, color=look.colour, alpha=0.15, linewidth=0)


def _scale(line: np.ndarray, least: float) -> None:
    """A logarithmic axis for values that differ by at least so many times."""
    values = np.concatenate([drawn.get_ydata() for axes in line for drawn in axes.lines])
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0 or values.max() < least * values.min():
        return
    parts = (1.0,) if values.max() > 30 * values.min() else (1.0, 2.0, 5.0)
    for axes in line:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=parts, numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
