"""Figures of searches: the best accuracy over trials, and accuracy over the learning rate."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.panels import handles, titled
from qbench.reporting.searches import RATE, Search
from qbench.reporting.sensitivity import Point, points
from qbench.reporting.style import Look, legend_width, new_figure

__all__ = ["best_in_bins", "draw_sensitivity", "draw_tuning"]

MARKS = 8
"""Markers along a curve."""
BINS, IN_BIN = 8, 3
"""At most so many, with so many trials each on average."""
Pair = tuple[str, str]
Panels = dict[Setting, dict[str, list[Search]]]


def draw_tuning(comparison: Comparison, pair: Pair, looks: Mapping[str, Look]) -> Figure | None:
    """Best validation accuracy so far over trials of a search, a panel for each bit setting."""
    panels = {
        setting: {label: rounds for label, rounds in rows.items() if _curves(rounds).size}
        for setting, rows in _panels(comparison, pair).items()
    }
    panels = {setting: rows for setting, rows in panels.items() if rows}
    if not panels:
        return None
    figure, grid = _figure(panels)
    what = "best validation accuracy so far"
    titled(figure, pair, what, "line: mean of rounds; band: lowest to highest")
    for axes, rows in zip(grid, panels.values(), strict=False):
        for index, (label, rounds) in enumerate(rows.items()):
            _draw_curve(axes, _curves(rounds), looks[label], index / len(rows))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, grid, panels, looks, "trials of a search")
    return figure


def _curves(rounds: Sequence[Search]) -> np.ndarray:
    """Round by trial; rounds in which every trial failed are left out, and unequal ends cut."""
    found = [curve for search in rounds if (curve := search.best_so_far())]
    shortest = min(map(len, found), default=0)
    whole = np.array([curve[:shortest] for curve in found])
    return whole[~np.isnan(whole).all(axis=1)] if whole.size else whole


def _draw_curve(axes: Axes, curves: np.ndarray, look: Look, phase: float) -> None:
    known = ~np.isnan(curves).any(axis=0)  # from where each round has a trial with a result
    trials, curves = np.arange(1, curves.shape[1] + 1)[known], curves[:, known]
    step = max(len(trials) // MARKS, 1)
    axes.plot(
        trials, curves.mean(axis=0), color=look.colour, linestyle=look.line,
        marker=look.marker or None, markevery=(int(phase * step), step), markersize=4,
        markeredgecolor="white", markeredgewidth=0.3,
    )  # fmt: skip
    if len(curves) > 1:
        low, high = curves.min(axis=0), curves.max(axis=0)
        axes.fill_between(trials, low, high, color=look.colour, alpha=0.12, linewidth=0)


def draw_sensitivity(
    comparison: Comparison, pair: Pair, looks: Mapping[str, Look]
) -> Figure | None:
    """Validation accuracy of every trial over its learning rate, a panel for each bit setting."""
    if not any(RATE in own for own in comparison.searches.spaces.values()):
        return None
    rated = {
        setting: {
            label: own for label, rounds in rows.items() if (own := _rated(comparison, rounds))
        }
        for setting, rows in _panels(comparison, pair).items()
    }
    found = {setting: rows for setting, rows in rated.items() if rows}
    rates = [one.rate for rows in found.values() for own in rows.values() for one in own]
    known = [rate for rate in rates if rate is not None]
    if len(set(known)) < 2:
        return None
    figure, grid = _figure(found)
    how = "points: trials; line: the best near a learning rate"
    if any(one.accuracy is None for rows in found.values() for own in rows.values() for one in own):
        how += "; crosses below: trials that failed"
    titled(figure, pair, "validation accuracy over the learning rate", how)
    edges = np.geomspace(min(known), max(known), _bins(found) + 1)
    for axes, rows in zip(grid, found.values(), strict=False):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        for label, own in rows.items():
            _draw_trials(axes, own, edges, looks[label])
    _finish(figure, grid, found, looks, "learning rate")
    return figure


def _rated(comparison: Comparison, rounds: Sequence[Search]) -> list[Point]:
    return [one for one in points(comparison, rounds) if one.rate is not None and one.rate > 0]


def _bins(found: Mapping[Setting, Mapping[str, Sequence[Point]]]) -> int:
    most = max(len(own) for rows in found.values() for own in rows.values())
    return max(min(most // IN_BIN, BINS), 1)


def best_in_bins(found: Sequence[Point], edges: np.ndarray) -> Iterator[tuple[float, float]]:
    """The highest accuracy in each bin, at the geometric mean of the trials' learning rates.

    Args:
        found: Trials with a learning rate.
        edges: Of the bins, ascending; empty bins are left out.
    """
    done = [(one.rate, one.accuracy) for one in found if one.rate and one.accuracy is not None]
    places = np.clip(np.searchsorted(edges, [rate for rate, _ in done], "right"), 1, len(edges) - 1)
    for place in range(1, len(edges)):
        own = [point for point, at in zip(done, places, strict=True) if at == place]
        if own:
            rate = float(np.exp(np.mean(np.log([rate for rate, _ in own]))))
            yield rate, max(value for _, value in own)


def _draw_trials(axes: Axes, found: Sequence[Point], edges: np.ndarray, look: Look) -> None:
    done = [(one.rate, one.accuracy) for one in found if one.rate and one.accuracy is not None]
    axes.scatter(
        [rate for rate, _ in done], [value for _, value in done], s=7, color=look.colour,
        alpha=0.35, linewidth=0,
    )  # fmt: skip
    best = list(best_in_bins(found, edges))
    axes.plot(
        [rate for rate, _ in best], [value for _, value in best], color=look.colour,
        linestyle=look.line, marker=look.marker or None, markersize=4, markeredgecolor="white",
        markeredgewidth=0.3,
    )  # fmt: skip
    failed = [one.rate for one in found if one.rate and one.accuracy is None]
    axes.plot(
        failed, [0.02] * len(failed), "x", color=look.colour, markersize=4,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _panels(comparison: Comparison, pair: Pair) -> Panels:
    labels = list(dict.fromkeys(search.label for search in comparison.searches.all))
    panels: Panels = {}
    for setting in (setting for setting in comparison.settings if setting[:2] == pair):
        rows = {label: comparison.searches.of(label, setting) for label in labels}
        panels[setting] = {label: rounds for label, rounds in rows.items() if rounds}
    return panels


def _figure(panels: Mapping[Setting, Mapping[str, object]]) -> tuple[Figure, list[Axes]]:
    labels = _labels(panels)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width = max(0.6 + 3.0 * columns, 4.2) + legend_width(labels)
    figure = new_figure(width, max(0.9 + 2.7 * rows, 1.2 + 0.19 * len(labels)))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return figure, list(grid.flat)


def _labels(panels: Mapping[Setting, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(label for rows in panels.values() for label in rows))


def _finish(
    figure: Figure,
    grid: Sequence[Axes],
    panels: Mapping[Setting, Mapping[str, object]],
    looks: Mapping[str, Look],
    across: str,
) -> None:
    """Names of panels and axes, and the legend."""
    columns = min(len(panels), 3)
    titles = [setting.bits for setting in panels]
    for index, axes in enumerate(grid):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        axes.set_title(titles[index])
        if index + columns >= len(panels):
            axes.set_xlabel(across)
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel("validation accuracy (%)")
    figure.legend(handles=handles(_labels(panels), looks, line=True), loc="outside right center")
