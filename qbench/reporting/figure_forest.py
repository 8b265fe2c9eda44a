"""Which diagnostics go with deployed accuracy: a rank correlation and its interval in each line."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison
from qbench.reporting.correlations import LARGER_GAP, Correlation, enough, spearman
from qbench.reporting.panels import MOST_BITS, titled
from qbench.reporting.style import Look, new_figure

__all__ = ["draw_forest"]

GROUPS = {
    "discretization": "#0072B2", "output": "#D55E00", "codes": "#999933", "gradient": "#882255",
    "dynamics": "#117733",
}  # fmt: skip
"""What the names begin with; the colour repeats it."""
NAME_WIDTH = 34


def draw_forest(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The correlations of one model and data set, pooled over its bits and for each of them."""
    del looks  # rows are points here
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    blocks = enough(comparison, settings)
    pooled = {name: spearman(list(own.values())) for name, own in blocks.items()}
    pooled = {name: found for name, found in pooled.items() if not math.isnan(found.rho)}
    if not pooled:
        return None
    used = [s for s in settings if any(s in blocks[name] for name in pooled)]
    panels = {"pooled" if len(used) > 1 else used[0].bits: pooled}
    for setting in used[:MOST_BITS] if len(used) > 1 else []:
        own = {name: blocks[name][setting] for name in pooled if setting in blocks[name]}
        panels[setting.bits] = {name: spearman([block]) for name, block in own.items()}
    names = sorted(pooled, key=lambda name: -pooled[name].rho)
    figure = new_figure(max(2.6 + 1.55 * len(panels), 5.2), 1.5 + 0.21 * len(names))
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, found) in zip(grid, panels.items(), strict=True):
        _draw(axes, names, found)
        counts = sorted({one.n for one in found.values()})
        axes.set_title(f"{title}\n{'–'.join(str(n) for n in counts[:: len(counts) - 1 or 1])} runs")
    grid[0].set_yticks(range(len(names)), [_lines(name) for name in names], fontsize=7)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel("Spearman's rank correlation with deployed accuracy", fontsize=9)
    how = "bars: 95 %, runs resampled; filled: without 0; not corrected for their number"
    how += "\npooled: ranked inside each of the bits" if len(used) > 1 else ""
    titled(figure, pair, "which diagnostics go with accuracy", how)
    return figure


def _lines(name: str) -> str:
    return textwrap.fill(name, NAME_WIDTH, break_long_words=False)


def _draw(axes: Axes, names: Sequence[str], found: Mapping[str, Correlation]) -> None:
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    axes.set_xlim(-1.08, 1.08)
    axes.set_xticks([-1, 0, 1], ["−1", "0", "1"])
    for place, name in enumerate(names):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", linewidth=0, zorder=0)
        one = found.get(name)
        if one is None or math.isnan(one.rho):
            continue
        group = "discretization" if name == LARGER_GAP else name.split("/")[0]
        colour = GROUPS[group]
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.2, zorder=2)
        axes.plot(
            one.rho, place, linestyle="", marker="o", markersize=4.5, zorder=3, color=colour,
            markerfacecolor="white" if one.low <= 0 <= one.high else colour,
        )  # fmt: skip
