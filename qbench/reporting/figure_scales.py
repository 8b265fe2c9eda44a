"""Agreement of the gradient with the deployed loss over the share of codes that change."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.diagnosis import Measured, measured
from qbench.reporting.panels import handles, of_pair, shared_labels, titled
from qbench.reporting.style import Look, legend_width, new_figure

__all__ = ["draw_scales", "scales_of"]

MEASURES = {
    "gradient/flip_set_r": "r of flip sets",
    "gradient/jacobian_alignment": "Jacobian alignment",
    "gradient/smoothed_alignment": "smoothed alignment",
}
CHANGE = "dynamics/window_change"
MOST_TICKS = 5
BESIDE = 10.0
"""How much smaller than the smallest share the axis may get, to show what training changes."""
PERCENT = re.compile(r"_(\d+(?:\.\d+)?)pct$")


def draw_scales(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The curves of one model and data set: a measure in each row, bits in each column."""
    panels = of_pair(comparison, pair, *_names(comparison))
    labels = shared_labels(comparison, panels)
    curves = {
        (measure, setting, group.label): curve
        for setting, groups in panels.items()
        for group in groups
        for measure in MEASURES
        if group.label in labels and len(curve := scales_of(group, measure)) > 1
    }
    measures = [m for m in MEASURES if any(measure == m for measure, _, _ in curves)]
    settings = [s for s in panels if any(setting == s for _, setting, _ in curves)]
    if not curves:
        return None
    width = 0.7 + 2.0 * len(settings) + legend_width([*labels, "steps (one epoch at"])
    figure = new_figure(width, max(1.0 + 1.9 * len(measures), 1.2 + 0.19 * len(labels)))
    grid = figure.subplots(len(measures), len(settings), sharex=True, sharey="row", squeeze=False)
    for line, measure in zip(grid, measures, strict=True):
        for axes, setting in zip(line, settings, strict=True):
            for label in labels:
                if (measure, setting, label) in curves:
                    _draw(axes, curves[measure, setting, label], looks[label])
        line[0].set_ylabel(MEASURES[measure])
    changes = _changes(panels, labels)
    _label(grid, settings, sorted({p for curve in curves.values() for p in curve}), changes)
    for column, setting in zip(grid.T, settings, strict=True):
        for axes in column:
            _mark(axes, {n: share for (s, n), share in changes.items() if s == setting}, looks)
    legend = handles(labels, looks, line=True)
    if changes:
        legend.append(_key(comparison.plan.study.diagnostics.window))
    figure.legend(handles=legend, loc="outside right center")
    titled(
        figure, pair, "agreement of the gradient with the deployed loss",
        "1: perfect, 0: none; bands: 95 %, over seeds or of the measurement",
    )  # fmt: skip
    return figure


def _names(comparison: Comparison) -> set[str]:
    results = comparison.trials.values()
    return {name for r in results for name in r.final if PERCENT.sub("", name) in MEASURES}


def scales_of(group: Group, measure: str) -> dict[float, Measured]:
    """A measure by the share of codes that change, in percent."""
    names = {name for result in group.done.values() for name in result.final}
    shares = _shares(names, measure)
    return {share: measured(group, shares[share]) for share in sorted(shares)}


def _shares(names: Iterable[str], measure: str) -> dict[float, str]:
    found = ((name, PERCENT.search(name)) for name in names if PERCENT.sub("", name) == measure)
    return {float(match[1]): name for name, match in found if match}


def _draw(axes: Axes, curve: Mapping[float, Measured], look: Look) -> None:
    shares, means = list(curve), [found.mean for found in curve.values()]
    axes.plot(
        shares, means, color=look.colour, linestyle=look.line, marker=look.marker or None,
        markersize=4, markeredgecolor="white", markeredgewidth=0.3,
    )  # fmt: skip
    halves = [found.half for found in curve.values()]
    if not any(math.isnan(half) for half in halves):
        low = [mean - half for mean, half in zip(means, halves, strict=True)]
        high = [mean + half for mean, half in zip(means, halves, strict=True)]
        axes.fill_between(shares, low, high, color=look.colour, alpha=0.1, linewidth=0)


def _changes(
    panels: Mapping[Setting, Sequence[Group]], labels: Sequence[str]
) -> dict[tuple[Setting, str], float]:
    """The share of codes, in percent, that the last watched steps changed; the mean of seeds."""
    found = {
        (setting, group.label): measured(group, CHANGE, 100.0)
        for setting, groups in panels.items()
        for group in groups
        if group.label in labels
    }
    return {key: share.mean for key, share in found.items() if share.n}


def _key(steps: int) -> Line2D:
    words = f"changed by the last {steps}\nsteps (one epoch at\nmost); not shown: less"
    return Line2D([], [], color="0.5", marker="|", markersize=13, linestyle="", label=words)


def _mark(axes: Axes, changes: Mapping[str, float], looks: Mapping[str, Look]) -> None:
    """A line where a row's training moves, unless that is beyond the axis."""
    low, high = axes.get_xlim()
    for label, change in changes.items():
        if low <= change <= high:
            look = looks[label]
            axes.axvline(
                change, color=look.colour, linestyle=look.line, linewidth=0.9, alpha=0.7, zorder=1
            )


def _label(
    grid: np.ndarray,
    settings: Sequence[Setting],
    shares: list[float],
    changes: Mapping[tuple[Setting, str], float],
) -> None:
    near = [change for change in changes.values() if change >= shares[0] / BESIDE]
    least = min([shares[0], *near])
    ticks = shares[:: -(-len(shares) // MOST_TICKS)]
    for axes, setting in zip(grid[0], settings, strict=True):
        axes.set_title(setting.bits)
    for line in grid:
        for axes in line:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(ticks, [f"{share:g}" for share in ticks])
            axes.set_xlim(least / 1.4, shares[-1] * 1.4)
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
            low, _ = axes.get_ylim()
            axes.set_ylim(min(low, -0.05), 1.05)
    for axes in grid[-1]:
        axes.set_xlabel("codes that change (%)")
