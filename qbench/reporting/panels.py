"""Grids of panels: a row of the report in each row and its bits in each column, or bits alone."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.diagnosis import diagnosed
from qbench.reporting.style import Look, wrapped

__all__ = ["MOST_BITS", "MOST_ROWS", "below_title", "handles", "of_pair", "shared_labels", "titled"]

LETTERS = 12.5
"""Of a title in an inch."""
MOST_BITS, MOST_ROWS = 4, 12
"""Panels beside and below each other; more cannot be read."""


def of_pair(
    comparison: Comparison, pair: tuple[str, str], *names: str
) -> dict[Setting, list[Group]]:
    """The first settings of a model and data set in which any name was measured, with its rows."""
    settings = (setting for setting in comparison.settings if setting[:2] == pair)
    found = {setting: diagnosed(comparison, setting, *names) for setting in settings}
    kept = [(setting, groups) for setting, groups in found.items() if groups]
    return dict(kept[:MOST_BITS])


def shared_labels(comparison: Comparison, panels: Mapping[Setting, Sequence[Group]]) -> list[str]:
    """The rows that stand in any panel, in the study's order, as many as can be drawn."""
    present = {group.label for groups in panels.values() for group in groups}
    return [label for label in comparison.labels if label in present][:MOST_ROWS]


def titled(figure: Figure, pair: tuple[str, str], what: str, how: str = "") -> None:
    """The figure's title: the model and data set, what is drawn, and how to read it."""
    letters = int(LETTERS * figure.get_figwidth())
    lines = (f"{pair[0]} on {pair[1]}: {what}", *how.splitlines())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in lines))


def below_title(axes: Axes, text: str) -> None:
    """A remark in the upper left corner of a panel."""
    axes.text(
        0.03, 0.97, text, transform=axes.transAxes, ha="left", va="top", fontsize=7, zorder=5,
        bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
    )  # fmt: skip


def handles(labels: Iterable[str], looks: Mapping[str, Look], *, line: bool) -> list[Line2D]:
    """An entry of the legend for each row."""
    return [
        Line2D(
            [], [], color=looks[label].colour, marker=looks[label].marker or None, markersize=5,
            linestyle=looks[label].line if line else "", label=wrapped(label),
        )
        for label in labels
    ]  # fmt: skip
