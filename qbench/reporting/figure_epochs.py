"""Maps of layers and epochs: where in the network, and when, a diagnostic is what it is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.diagnosis import GAPS, PREDICTION
from qbench.reporting.panels import of_pair, shared_labels, titled
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["EPOCH_MAPS", "EpochMap", "draw_epochs", "mean_map"]

MOST_TICKS = 5
MOST_NAMES = 9
"""Layer names beside a map; of more layers only every second, third, … is named."""
NAME_WIDTH = 16


@dataclass(frozen=True)
class EpochMap:
    """A diagnostic of layers that is drawn over epochs."""

    name: str
    words: str
    low: float | None
    """The colours end here or at the smallest and the largest value, whichever is nearer."""
    high: float | None
    scale: Callable[[pd.DataFrame], pd.DataFrame]
    """From the values as measured, the mean of seeds, to those that are drawn."""
    zero: str = ""
    """What a row is called that is 0 throughout; it is named, and not drawn."""


def _as_it_is(values: pd.DataFrame) -> pd.DataFrame:
    return values


def _logarithm(factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def scale(values: pd.DataFrame) -> pd.DataFrame:
        return factor * np.log10(values.where(values > 0))

    return scale


EPOCH_MAPS = {
    "gap": EpochMap(
        GAPS[0], "train-to-deploy gap of weights (dB)", -60.0, 10.0, _logarithm(10), "exactly 0"
    ),
    "flip-sets": EpochMap(PREDICTION, "r of flip sets at 1 %", 0.0, 1.0, _as_it_is),
    "oscillation": EpochMap(
        "dynamics/oscillation_rate", "oscillation rate", 0.0, None, _as_it_is, "none"
    ),
    "flip-rate": EpochMap(
        "dynamics/flip_rate", "flip rate a step (log10)", None, None, _logarithm(1), "none"
    ),
}  # fmt: skip


def draw_epochs(
    kind: str, comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The maps of one diagnostic, a row of the report in each row and bits in each column."""
    del looks  # all panels share one scale of colours
    drawn = EPOCH_MAPS[kind]
    panels = of_pair(comparison, pair, drawn.name)
    labels = shared_labels(comparison, panels)
    maps = {
        (group.label, setting.bits): found
        for setting, groups in panels.items()
        for group in groups
        if group.label in labels and (found := mean_map(comparison, group, drawn.name)).size
    }
    rows = [label for label in labels if any(label == name for name, _ in maps)]
    zero = [label for label in rows if drawn.zero and _is_zero(maps, label)]
    rows = [label for label in rows if label not in zero]
    maps = {key: drawn.scale(found) for key, found in maps.items() if key[0] in rows}
    if not maps:
        return None
    figure = _draw(maps, rows, [s.bits for s in panels], drawn)
    how = f"\n{drawn.zero} throughout: {', '.join(zero)}" if zero else ""
    titled(figure, pair, drawn.words, f"mean of seeds{how}")
    return figure


def _is_zero(maps: Mapping[tuple[str, str], pd.DataFrame], label: str) -> bool:
    own = (found for (name, _), found in maps.items() if name == label)
    return not any(found.fillna(0).to_numpy().any() for found in own)


def mean_map(comparison: Comparison, group: Group, name: str) -> pd.DataFrame:
    """The mean of seeds: a layer in each row, from input to output, an epoch in each column."""
    results = [result for _, result in sorted(group.done.items())]
    values = comparison.traces.layers(results, name)
    layers = list(dict.fromkeys(values["layer"]))
    mean = values.pivot_table(index="layer", columns="epoch", values="value", aggfunc="mean")
    return mean.reindex(layers)


def _draw(
    maps: Mapping[tuple[str, str], pd.DataFrame],
    rows: list[str],
    bits: list[str],
    drawn: EpochMap,
) -> Figure:
    layers = list(dict.fromkeys(name for found in maps.values() for name in found.index))
    low, high, least, most = _limits(maps, drawn)
    tall = min(max(0.8, 0.14 * len(layers)), 1.5)
    figure = new_figure(max(2.4 + 1.7 * len(bits), 4.8), 1.5 + (tall + 0.12) * len(rows))
    grid = figure.subplots(len(rows), len(bits), sharex=True, sharey=True, squeeze=False)
    for line, label in zip(grid, rows, strict=True):
        for axes, width in zip(line, bits, strict=True):
            axes.grid(visible=False)
            axes.set_facecolor("0.9")
            found = maps.get((label, width))
            if found is not None:
                image = _panel(axes, found.reindex(layers), low, high)
        line[-1].yaxis.set_label_position("right")
        line[-1].set_ylabel(wrapped(label), rotation=0, ha="left", va="center", fontsize=8)
    _name(grid, layers, bits, sorted({epoch for found in maps.values() for epoch in found}))
    above, below = most > high, least < low
    extend = "both" if above and below else "max" if above else "min" if below else "neither"
    bar = figure.colorbar(
        image, ax=grid.ravel().tolist(), label=drawn.words, extend=extend, location="bottom",
        fraction=0.05, aspect=40, pad=0.02,
    )  # fmt: skip
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    return figure


def _limits(
    maps: Mapping[tuple[str, str], pd.DataFrame], drawn: EpochMap
) -> tuple[float, float, float, float]:
    values = np.concatenate([found.to_numpy().ravel() for found in maps.values()])
    values = values[np.isfinite(values)]
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    low = least if drawn.low is None else max(least, drawn.low)
    high = most if drawn.high is None else min(most, drawn.high)
    return low, high if high > low else low + 1, least, most


def _panel(axes: Axes, found: pd.DataFrame, low: float, high: float) -> ScalarMappable:
    """Cells as wide as the time up to the next measurement, so that epochs stand to scale."""
    epochs = found.columns.to_numpy(dtype=float)
    half = np.diff(epochs) / 2
    first, last = (half[0], half[-1]) if len(half) else (0.5, 0.5)
    edges = np.concatenate([[epochs[0] - first], epochs[:-1] + half, [epochs[-1] + last]])
    return axes.pcolormesh(
        edges, np.arange(len(found) + 1), found.to_numpy(), cmap="cividis", vmin=low, vmax=high,
        rasterized=True,
    )  # fmt: skip


def _name(grid: np.ndarray, layers: list[str], bits: list[str], epochs: list[int]) -> None:
    step = math.ceil(len(layers) / MOST_NAMES)
    places = range(0, len(layers), step)
    names = [_cut(layers[place]) for place in places]
    for axes, width in zip(grid[0], bits, strict=True):
        axes.set_title(width)
    for line in grid:
        line[0].set_yticks([place + 0.5 for place in places], names, fontsize=6)
        line[0].set_ylim(len(layers), 0)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.set_xticks(epochs[:: -math.ceil(len(epochs) / MOST_TICKS)])  # the last among them


def _cut(layer: str) -> str:
    """A layer's name; of a long one its end, which tells it from its neighbours."""
    return layer if len(layer) <= NAME_WIDTH else "…" + layer[1 - NAME_WIDTH :].lstrip(".")
