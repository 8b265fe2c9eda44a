"""What each row gains on the baseline, paired by seed: a forest plot with a panel for each bits."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.panels import MOST_BITS, MOST_ROWS, titled
from qbench.reporting.statistics import LEVEL, MINIMUM_SEEDS
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_differences"]

ZERO_ROOM = 0.08
"""Of the width of a panel, beside the outermost value."""


def draw_differences(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set; nothing without a baseline that has a result there."""
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    panels = {setting: found for setting in settings if (found := _compared(comparison, setting))}
    panels = dict(list(panels.items())[:MOST_BITS])
    present = {group.label for groups in panels.values() for group in groups}
    labels = [label for label in comparison.labels if label in present][:MOST_ROWS]
    if not labels:
        return None
    figure = new_figure(2.6 + 1.9 * len(panels), 1.6 + 0.3 * len(labels))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (setting, groups) in zip(grid, panels.items(), strict=True):
        _draw(axes, comparison, {group.label: group for group in groups}, labels, looks)
        axes.set_title(setting.bits)
    grid[0].set_yticks(range(len(labels)), [wrapped(label) for label in labels])
    grid[0].set_ylim(len(labels) - 0.5, -0.5)
    figure.supxlabel(f"deployed test accuracy minus {comparison.baseline} (points)", fontsize=9)
    claims = any(
        comparison.minus_baseline(group).has_interval
        for groups in panels.values()
        for group in groups
    )
    how = (
        f"bars: {100 * LEVEL:.0f} % t interval over seeds; filled: without 0; dots: single seeds"
        if claims
        else f"dots: single seeds; with fewer than {MINIMUM_SEEDS} there is no interval"
    )
    titled(figure, pair, f"gain on {comparison.baseline}, paired by seed", how)
    return figure


def _compared(comparison: Comparison, setting: Setting) -> list[Group]:
    rows = (label for label in comparison.labels if label != comparison.baseline)
    groups = (comparison.groups.get((label, setting)) for label in rows)
    return [
        group
        for group in groups
        if group is not None and not group.is_float and comparison.minus_baseline(group).n
    ]


def _draw(
    axes: Axes,
    comparison: Comparison,
    groups: Mapping[str, Group],
    labels: list[str],
    looks: Mapping[str, Look],
) -> None:
    axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    axes.grid(visible=False, axis="y")
    axes.margins(x=ZERO_ROOM)
    for place, label in enumerate(labels):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", linewidth=0, zorder=0)
        group = groups.get(label)
        if group is None:
            continue
        found, look = comparison.minus_baseline(group), looks[label]
        other = comparison.groups[str(comparison.baseline), group.setting]
        seeds = (group.accuracy - other.accuracy).dropna().tolist()
        axes.plot(
            seeds, [place + 0.22] * len(seeds), ".", color=look.colour, markersize=4, zorder=2
        )
        if found.has_interval:
            ends = [found.low, found.high]
            axes.plot(ends, [place, place], color=look.colour, linewidth=1.4, zorder=2)
        axes.plot(
            found.mean, place, marker=look.marker, color=look.colour, linestyle="", zorder=3,
            markersize=6, markeredgewidth=1.0,
            markerfacecolor=look.colour if found.excludes_zero else "white",
        )  # fmt: skip
