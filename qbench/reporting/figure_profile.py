"""Performance profiles: the share of runs that reach each score, one row in front in each panel."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbench.reporting.aggregates import Profile, Values, profile, resampled
from qbench.reporting.compare import Comparison
from qbench.reporting.panels import LETTERS, MOST_ROWS
from qbench.reporting.ranking import Ranking, rank
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_profile"]

BESIDE = 4
"""Panels in a line."""
POINTS = 201
"""Scores at which a profile is computed."""


def draw_profile(comparison: Comparison, looks: Mapping[str, Look]) -> Figure | None:
    """The profiles of a whole study; nothing where there is no ranking."""
    ranking = rank(comparison)
    if ranking is None:
        return None
    labels = [label for label in ranking.labels if label in list(ranking.average_ranks)[:MOST_ROWS]]
    grid = _grid([ranking.shares.rows[label] for label in {*labels, ranking.baseline}])
    found = {
        label: profile(own := ranking.shares.rows[label], resampled(own, stream), grid)
        for stream, label in enumerate(ranking.labels)
    }
    beside = min(BESIDE, len(labels))
    lines = math.ceil(len(labels) / beside)
    figure = new_figure(max(5.2, 2.2 * beside + 0.6), 1.95 * lines + 1.3)
    panels = figure.subplots(lines, beside, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, label in zip(panels, labels, strict=False):
        _draw(axes, grid, found, label, ranking.baseline, looks)
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(labels))
        axes.tick_params(labelbottom=place + beside >= len(labels))
    panels[0].set(xlim=(grid[0], grid[-1]), ylim=(-0.03, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    _words(figure, ranking)
    return figure


def _grid(drawn: Iterable[Sequence[Values]]) -> Values:
    """From the lowest score of these rows to the highest; failed runs, of score 0, are below."""
    scores = np.concatenate([own for rows in drawn for own in rows])
    finished = scores[scores > 0]
    low, high = (finished.min(), finished.max()) if len(finished) else (0.0, 100.0)
    room = max(0.02 * (high - low), 0.05)
    return np.linspace(low - room, high + room, POINTS)


def _draw(
    axes: Axes, grid: Values, found: Mapping[str, Profile], label: str, baseline: str,
    looks: Mapping[str, Look],
) -> None:  # fmt: skip
    for other, its in found.items():
        if other not in (label, baseline):
            axes.plot(grid, its.value, color="0.82", linewidth=0.8, zorder=1)
    axes.plot(grid, found[baseline].value, color="0.25", linewidth=1, linestyle=(0, (4, 2)),
              zorder=2)  # fmt: skip
    own, look = found[label], looks[label]
    if not np.isnan(own.low).any():
        axes.fill_between(grid, own.low, own.high, color=look.colour, alpha=0.25, linewidth=0)
    axes.plot(grid, own.value, color=look.colour, linewidth=1.8, zorder=3)
    axes.set_title(wrapped(label), fontsize=8)


def _words(figure: Figure, ranking: Ranking) -> None:
    of_float = ranking.shares.of_float
    score = "share of the float network's accuracy" if of_float else "deployed test accuracy"
    runs = {sum(len(own) for own in rows) for rows in ranking.shares.rows.values()}
    count = f"{min(runs)}" if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
    lines = (
        f"Performance profiles over {len(ranking.blocks)} blocks ({count} runs a row)",
        f"further right is better; dashed: {ranking.baseline}, the baseline; grey: other rows; "
        "shaded: 95 % over seeds, where there are enough",
    )
    letters = int(LETTERS * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in lines))
    figure.supxlabel(f"τ: {score} (%)", fontsize=9)
    figure.supylabel("share of runs that reach τ", fontsize=9)
