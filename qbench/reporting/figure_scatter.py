"""Predicted and actual loss changes of flip sets: tilt is gain, cloud mismatch, shift curvature."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.diagnosis import PREDICTION
from qbench.reporting.panels import below_title, of_pair, shared_labels, titled
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_scatter", "pooled"]

POINTS = "gradient/flip_set_1pct"
LIMIT = 4.0
"""Standard deviations that the axes show; what lies beyond stands on the edge."""


def draw_scatter(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """A panel for each row and bits of one model and data set, from the first seed with points."""
    panels = of_pair(comparison, pair, PREDICTION)
    labels = shared_labels(comparison, panels)
    found = {
        (group.label, setting.bits): points
        for setting, groups in panels.items()
        for group in groups
        if group.label in labels and not (points := pooled(comparison, group)).empty
    }
    if not found:
        return None
    rows = [label for label in labels if any(label == drawn for drawn, _ in found)]
    bits = [s.bits for s in panels if any(s.bits == drawn for _, drawn in found)]
    figure = new_figure(max(2.4 + 1.6 * len(bits), 4.8), 1.3 + 1.25 * len(rows))
    grid = figure.subplots(len(rows), len(bits), sharex=True, sharey=True, squeeze=False)
    for line, label in zip(grid, rows, strict=True):
        for axes, width in zip(line, bits, strict=True):
            if (label, width) in found:
                _draw(axes, found[label, width], looks[label])
            else:
                axes.set_axis_off()
        line[-1].text(
            1.04, 0.5, wrapped(label), transform=line[-1].transAxes, fontsize=8, va="center"
        )
    for axes, width in zip(grid[0], bits, strict=True):
        axes.set_title(width)
    figure.supxlabel("predicted change of the loss (standard deviations)", fontsize=9)
    figure.supylabel("actual change (same unit)", fontsize=9)
    titled(
        figure,
        pair,
        "loss changes of flip sets",
        "dashed: y = x; line: fit; beyond 4: on the edge",
    )
    return figure


def pooled(comparison: Comparison, group: Group) -> pd.DataFrame:
    """Points of all layers of the first seed that has any, in standard deviations of ``x``.

    Both axes of a layer are divided by the same number, so that a slope stays what it is.
    """
    for _, result in sorted(group.done.items()):
        if PREDICTION not in result.final:
            continue
        points = comparison.traces.points(result, POINTS)
        spread = points.groupby("layer", sort=False)["x"].transform("std")
        kept = points[spread > 0]
        if not kept.empty:
            return kept[["x", "y"]].div(spread[spread > 0], axis=0)
    return pd.DataFrame({"x": [], "y": []})


def _draw(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    x, y = points["x"].to_numpy(), points["y"].to_numpy()
    axes.set_xlim(-LIMIT * 1.05, LIMIT * 1.05)
    axes.set_ylim(-LIMIT * 1.05, LIMIT * 1.05)
    axes.set_xticks([-3, 0, 3], ["−3", "0", "3"])
    axes.set_yticks([-3, 0, 3], ["−3", "0", "3"])
    axes.plot(
        np.clip(x, -LIMIT, LIMIT), np.clip(y, -LIMIT, LIMIT), linestyle="", marker="o",
        color=look.colour, markersize=2, alpha=0.4, markeredgewidth=0, rasterized=True,
    )  # fmt: skip
    ends = np.array([-LIMIT, LIMIT])
    axes.plot(ends, ends, color="0.3", linestyle=(0, (4, 3)), linewidth=0.9)
    if len(x) > 2 and np.std(y) > 0:
        slope, offset = np.polyfit(x, y, 1)
        axes.plot(ends, slope * ends + offset, color="black", linewidth=1.2)
        r = np.corrcoef(x, y)[0, 1]
        below_title(axes, f"r {r:.2f}, slope {slope:.2f}".replace("-", "−"))
