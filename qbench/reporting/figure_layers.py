"""Discretization error of every layer, as a map of rows and layers for each bit setting."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.style import Look, new_figure

__all__ = ["draw_layers"]

MOST_NAMES = 40
"""Layer names under a map; of more layers only every second, third, … is named."""
MOST_PANELS = 8


def draw_layers(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set; rows that share the panel's colours are comparable."""
    frames = {
        setting.bits: frame
        for setting in comparison.settings
        if setting[:2] == pair and not (frame := _errors(comparison, setting)).empty
    }
    frames = dict(list(frames.items())[:MOST_PANELS])
    if not frames:
        return None
    layers = list(dict.fromkeys(name for frame in frames.values() for name in frame.columns))
    heights = [max(len(frame), 2) for frame in frames.values()]
    width = min(max(6.0, 3.0 + 0.24 * len(layers)), 14.0)
    figure = new_figure(width, 1.9 + sum(0.22 * height + 0.45 for height in heights))
    grid = figure.subplots(len(frames), 1, squeeze=False, sharex=True, height_ratios=heights)
    top = max(float(np.nanmax(frame.to_numpy())) for frame in frames.values())
    image = None
    for axes, (bits, frame) in zip(grid.flat, frames.items(), strict=True):
        values = frame.reindex(columns=layers)
        image = axes.imshow(
            values.to_numpy(), aspect="auto", cmap="cividis", vmin=0.0, vmax=top or 1.0
        )
        axes.set_title(bits)
        axes.set_yticks(range(len(values)), list(values.index))
        axes.grid(visible=False)
    step = -(-len(layers) // MOST_NAMES)
    places = range(0, len(layers), step)
    last = grid[-1, 0]
    last.set_xticks(places, [layers[place] for place in places], rotation=90)
    last.set_xlabel("quantized layer, from input to output")
    if image is not None:
        figure.colorbar(image, ax=grid.ravel().tolist(), label="‖trained − deployed‖ / ‖deployed‖")
    zero = "; it is 0 everywhere: all rows train hard" if top == 0 else ""
    figure.suptitle(f"{pair[0]} on {pair[1]}: discretization error at the end, mean of seeds{zero}")
    return figure


def _errors(comparison: Comparison, setting: Setting) -> pd.DataFrame:
    """Mean over seeds; a row of the report in each row, a layer in each column."""
    rows = {}
    for label in comparison.labels:
        group = comparison.groups.get((label, setting))
        if group is None or group.is_float:
            continue
        found = pd.DataFrame([dict(r.layers) for r in group.done.values() if r.layers])
        if not found.empty:
            rows[label] = found.mean()
    frame = pd.DataFrame(rows).T
    order = [layer for row in rows.values() for layer in row.index]
    return frame.reindex(columns=list(dict.fromkeys(order)))
