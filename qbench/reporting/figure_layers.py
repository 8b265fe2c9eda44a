"""Errors of every layer, as a map of rows and layers for each bit setting."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.panels import titled
from qbench.reporting.style import Look, new_figure, wrapped

__all__ = ["draw_latent_error"]

ERROR = "discretization/latent_error"
MOST_NAMES = 40
"""Layer names under a map; of more layers only every second, third, … is named."""
MOST_PANELS = 8
MOST_ERROR = 1.0
"""The end of the colours: a method that rescales its latents would leave none for the others."""


def draw_latent_error(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """How far latent weights are from deployed ones."""
    del looks  # a map has one scale of colours for all rows
    frames = {
        setting.bits: frame
        for setting in comparison.settings
        if setting[:2] == pair and not (frame := _errors(comparison, setting)).empty
    }
    frames = dict(list(frames.items())[:MOST_PANELS])
    rows = [
        label
        for label in comparison.labels
        if any(label in frame.index for frame in frames.values())
    ]
    zero = [label for label in rows if all(_is_zero(frame, label) for frame in frames.values())]
    frames = {bits: frame.drop(zero, errors="ignore") for bits, frame in frames.items()}
    frames = {bits: frame for bits, frame in frames.items() if not frame.empty}
    if not frames:
        return None
    layers = list(dict.fromkeys(name for frame in frames.values() for name in frame.columns))
    figure = _map(frames, layers)
    how = f"0 in every layer: {', '.join(zero)}" if zero else ""
    titled(figure, pair, "latent-to-code error of weights at the end, mean of seeds", how)
    return figure


def _is_zero(frame: pd.DataFrame, label: str) -> bool:
    return label not in frame.index or not frame.loc[label].fillna(0).any()


def _map(frames: Mapping[str, pd.DataFrame], layers: list[str]) -> Figure:
    heights = [max(len(frame), 2) for frame in frames.values()]
    width = min(max(6.5, 3.0 + 0.24 * len(layers)), 14.0)
    lines = max(
        wrapped(label).count("\n") + 1 for frame in frames.values() for label in frame.index
    )
    cell = max(0.2, 0.14 * lines)
    figure = new_figure(width, 2.4 + sum(cell * height + 0.35 for height in heights))
    grid = figure.subplots(len(frames), 1, squeeze=False, sharex=True, height_ratios=heights)
    values = np.concatenate([frame.to_numpy(dtype=float).ravel() for frame in frames.values()])
    least, largest = float(np.nanmin(values)), float(np.nanmax(values))
    low, top = min(least, MOST_ERROR), min(largest, MOST_ERROR)
    for axes, (bits, frame) in zip(grid.flat, frames.items(), strict=True):
        seaborn.heatmap(
            frame.reindex(columns=layers), ax=axes, cmap="cividis", vmin=low, vmax=top, cbar=False,
            xticklabels=False, yticklabels=[wrapped(label) for label in frame.index],
        )  # fmt: skip
        axes.set_title(bits)
        axes.tick_params(axis="y", rotation=0)
        axes.set_facecolor("0.9")  # of layers that were not measured
    step = -(-len(layers) // MOST_NAMES)
    places = range(0, len(layers), step)
    names = [layers[place] for place in places]
    grid[-1, 0].set_xticks([place + 0.5 for place in places], names, rotation=90)
    grid[-1, 0].set_xlabel("quantized layer, from input to output")
    figure.colorbar(
        grid[-1, 0].collections[0],
        ax=grid.ravel().tolist(),
        label="1 − cos²(latent, deployed)",
        fraction=0.05,
        pad=0.02,
        extend="max" if largest > top else "neither",
    )
    return figure


def _errors(comparison: Comparison, setting: Setting) -> pd.DataFrame:
    """Mean over seeds; a row of the report in each row, a layer in each column."""
    rows = {}
    for label in comparison.labels:
        group = comparison.groups.get((label, setting))
        if group is None or group.is_float:
            continue
        found = comparison.traces.layers(group.done.values(), ERROR)
        last = found[found["epoch"] == found.groupby("trial")["epoch"].transform("max")]
        if not last.empty:
            rows[label] = last.groupby("layer", sort=False)["value"].mean()
    order = dict.fromkeys(layer for row in rows.values() for layer in row.index)
    return pd.DataFrame(rows).T.reindex(columns=list(order)).rename_axis(columns=None)
