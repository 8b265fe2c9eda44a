"""The critical-difference diagram: average ranks, and bars over rows that cannot be told apart."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison
from qbench.reporting.ranking import Ranking, rank
from qbench.reporting.ranks import SIGNIFICANT, cliques, smallest_adjusted_p
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_critical"]

WIDTH, AXIS_WIDTH = 9.0, 3.6
"""Inches; the names stand left and right of the axis."""
LINE, BAR, SMALL = 0.17, 0.13, 0.1
"""Inches: a line of a name, the room of a bar, the least gap."""


def draw_critical(comparison: Comparison, looks: Mapping[str, Look]) -> Figure | None:
    """The diagram of a whole study; nothing where there is no ranking."""
    ranking = rank(comparison)
    if ranking is None:
        return None
    order = list(ranking.average_ranks)
    adjusted = {frozenset((pair.row, pair.other)): pair.adjusted for pair in ranking.all_pairs}
    levels = _levels(cliques(order, adjusted))
    names = {label: _lines(label, average) for label, average in ranking.average_ranks.items()}
    sides = order[: math.ceil(len(order) / 2)], order[math.ceil(len(order) / 2) :][::-1]
    below = max(sum(_height(names[label]) for label in side) for side in sides)
    title = _title(ranking)
    above = 0.95  # the title, and the axis with its numbers
    bars = BAR * len(levels) + 2 * SMALL
    figure = new_figure(WIDTH, above + bars + below + SMALL)
    figure.set_layout_engine("none")  # everything is placed in inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(-bars - below - SMALL, above))
    axes.axis("off")
    axes.text(WIDTH / 2, above - 0.12, title, ha="center", va="top", fontsize=9, linespacing=1.35)
    _draw_axis(axes, len(order))
    for level, groups in enumerate(levels):
        for first, last in groups:
            ends = [_x(ranking.average_ranks[order[place]], len(order)) for place in (first, last)]
            y = -SMALL - BAR * (level + 0.5)
            axes.plot([ends[0] - 0.05, ends[1] + 0.05], [y, y], color="0.15", linewidth=3.5,
                      solid_capstyle="butt", zorder=3)  # fmt: skip
    for side, labels in enumerate(sides):
        _draw_names(axes, ranking, labels, names, looks, -bars, left=side == 0)
    return figure


def _x(average: float, rows: int) -> float:
    return (WIDTH - AXIS_WIDTH) / 2 + AXIS_WIDTH * (average - 1) / (rows - 1)


def _title(ranking: Ranking) -> str:
    count = len(ranking.all_pairs)
    smallest = smallest_adjusted_p(len(ranking.blocks), count)
    tests = f"exact Wilcoxon signed-rank, all {count} pairs, Holm" if count > 1 else (
        "exact Wilcoxon signed-rank"
    )  # fmt: skip
    how = f"bars join rows that cannot be told apart ({tests}, {SIGNIFICANT})"
    if smallest >= SIGNIFICANT:
        how = f"everything is joined: with so few blocks no p can be below {smallest:.3g} ({tests})"
    return f"Average rank over {len(ranking.blocks)} blocks (model, data set, bits)\n{how}"


def _lines(label: str, average: float) -> str:
    return f"{wrapped(label)}  ({average:.2f})"


def _height(name: str) -> float:
    return LINE * (name.count("\n") + 1) + SMALL


def _levels(groups: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Bars that do not touch share a height."""
    levels: list[list[tuple[int, int]]] = []
    for group in groups:
        free = (level for level in levels if level[-1][1] < group[0])
        level = next(free, None)
        if level is None:
            levels.append([group])
        else:
            level.append(group)
    return levels


def _draw_axis(axes: Axes, rows: int) -> None:
    axes.plot([_x(1, rows), _x(rows, rows)], [0, 0], color="0.15", linewidth=1, zorder=2)
    for number in range(1, rows + 1):
        x = _x(number, rows)
        axes.plot([x, x], [0, 0.08], color="0.15", linewidth=1, zorder=2)
        axes.text(x, 0.12, str(number), ha="center", va="bottom", fontsize=8)
    axes.text(_x(1, rows) - 0.2, 0.03, "highest accuracy", ha="right", va="bottom", fontsize=8,
              color="0.35")  # fmt: skip
    axes.text(_x(rows, rows) + 0.2, 0.03, "lowest accuracy", ha="left", va="bottom", fontsize=8,
              color="0.35")  # fmt: skip


def _draw_names(
    axes: Axes, ranking: Ranking, labels: Sequence[str], names: Mapping[str, str],
    looks: Mapping[str, Look], top: float, *, left: bool,
) -> None:  # fmt: skip
    rows = len(ranking.labels)
    edge = _x(1, rows) - 0.25 if left else _x(rows, rows) + 0.25
    y = top
    for label in labels:
        height = _height(names[label])
        middle = y - height / 2
        x, look = _x(ranking.average_ranks[label], rows), looks[label]
        axes.plot([x, x, edge], [0, middle, middle], color=look.colour, linewidth=1.1, zorder=2)
        axes.plot(x, 0, marker=look.marker, color=look.colour, markersize=6, zorder=4,
                  markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
        axes.text(
            edge - 0.06 if left else edge + 0.06, middle, names[label], fontsize=8,
            ha="right" if left else "left", va="center", linespacing=1.1,
        )  # fmt: skip
        y -= height
