"""What deployment costs, part by part: weights hard, activations hard, both, batch norm mended."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.diagnosis import measured
from qbench.reporting.panels import of_pair, shared_labels, titled
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["STAGES", "draw_waterfall"]

STAGES = (
    ("output/accuracy_gap_weights", "only weights hard", "#0072B2", "o"),
    ("output/accuracy_gap_activations", "only activations hard", "#E69F00", "s"),
    ("output/accuracy_gap", "both hard", "#000000", "D"),
    ("output/accuracy_gap_reestimated", "both hard, batch norm re-estimated", "#009E73", "^"),
)


def draw_waterfall(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The change of accuracy from the training forward, a group of marks for each row."""
    del looks  # colours are stages here
    panels = of_pair(comparison, pair, *(name for name, *_ in STAGES))
    if not panels:
        return None
    labels = shared_labels(comparison, panels)
    zero = [label for label in labels if _is_zero(panels, label)]
    labels = [label for label in labels if label not in zero]
    if not labels:
        return None
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    tall = 0.5 + 0.42 * len(labels)
    figure = new_figure(max(2.0 + 2.1 * columns, 5.2), 1.8 + tall * lines)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        setting, groups = list(panels.items())[index]
        _draw(axes, {group.label: group for group in groups}, labels)
        axes.set_title(setting.bits)
        if index + columns >= len(panels):
            axes.set_xlabel("points of accuracy")
            axes.tick_params(labelbottom=True)
    low, high = grid[0, 0].get_xlim()  # of all panels, which share it
    grid[0, 0].set_xlim(min(low, -1.0), max(high, 0.5))
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=words)
        for name, words, colour, marker in STAGES
        if any(group.values(name).size for groups in panels.values() for group in groups)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    how = "change from the training forward, held-out images; bars: 95 %"
    how += f"\nexactly 0 throughout: {', '.join(zero)}" if zero else ""
    titled(figure, pair, "what hard values cost", how)
    return figure


def _is_zero(panels: Mapping[Setting, Sequence[Group]], label: str) -> bool:
    own = [group for groups in panels.values() for group in groups if group.label == label]
    return not any(group.values(name).any() for group in own for name, *_ in STAGES)


def _draw(axes: Axes, groups: Mapping[str, Group], labels: Sequence[str]) -> None:
    axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    for place, label in enumerate(labels):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", linewidth=0, zorder=0)
        if label in groups:
            _draw_row(axes, groups[label], place)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), [wrapped(label) for label in labels])
    axes.grid(visible=False, axis="y")


def _draw_row(axes: Axes, group: Group, place: int) -> None:
    for step, (name, _, colour, marker) in enumerate(STAGES):
        found = measured(group, name, -100.0)
        if not found.n:
            continue
        y = place + 0.19 * (step - 1.5)
        half = 0.0 if math.isnan(found.half) else abs(found.half)
        axes.plot([0, found.mean], [y, y], color=colour, linewidth=2.5, alpha=0.35, zorder=2)
        axes.errorbar(
            found.mean, y, xerr=half or None, color=colour, marker=marker, markersize=4.5,
            capsize=2, linewidth=1, markeredgecolor="white", markeredgewidth=0.4, zorder=3,
        )  # fmt: skip
