"""Accuracy over bits: every row's mean, its interval and its seeds, beside the float network."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.panels import titled
from qbench.reporting.statistics import MINIMUM_SEEDS
from qbench.reporting.style import Look, legend_width, new_figure, wrapped

__all__ = ["draw_accuracy"]

SPREAD = 0.8
"""How much of the room between two bit settings the rows share."""


def draw_accuracy(
    comparison: Comparison, pair: tuple[str, str], looks: Mapping[str, Look]
) -> Figure | None:
    """The figure of one model and data set; nothing where no trial is done."""
    settings = [setting for setting in comparison.settings if setting[:2] == pair]
    labels = [
        label
        for label in comparison.labels
        if not comparison.is_float(label) and _any(comparison, label, settings)
    ]
    if not labels:
        return None
    room = max(3.6, 0.6 + 0.16 * len(settings) * len(labels))
    figure = new_figure(room + legend_width(labels), max(4.0, 1.4 + 0.19 * len(labels)))
    axes = figure.subplots()
    for index, label in enumerate(labels):
        slot = SPREAD / len(labels)
        offset = slot * (index + 0.5) - SPREAD / 2
        groups = [comparison.groups.get((label, setting)) for setting in settings]
        _draw_row(axes, groups, offset, slot, looks[label])
    handles = [_handle(label, looks[label]) for label in labels]
    handles += _draw_floats(axes, comparison, settings, looks)
    handles.append(Line2D([], [], color="0.4", marker=".", linestyle="", label="one seed"))
    if axes.texts:
        handles.append(Line2D([], [], color="0.4", marker="x", linestyle="", label="no result"))
    _label(figure, axes, settings, pair, comparison)
    figure.legend(handles=handles, loc="outside right center")
    return figure


def _any(comparison: Comparison, label: str, settings: Sequence[Setting]) -> bool:
    groups = (comparison.groups.get((label, setting)) for setting in settings)
    return any(group is not None and group.accuracy_estimate.n for group in groups)


def _draw_row(
    axes: Axes, groups: Sequence[Group | None], offset: float, slot: float, look: Look
) -> None:
    for place, group in enumerate(groups):
        if group is None:
            continue
        found, x = group.accuracy_estimate, place + offset
        if not found.n:
            edge = axes.get_xaxis_transform()
            axes.text(x, 0.02, "×", color=look.colour, ha="center", transform=edge)
            continue
        half = found.half_width if found.has_interval else 0.0
        axes.errorbar(
            x, found.mean, yerr=half or None, color=look.colour, marker=look.marker, capsize=2,
            markeredgecolor="white", markeredgewidth=0.4, zorder=3,
        )  # fmt: skip
        seeds = group.accuracy.tolist()
        beside = [x + min(0.3 * slot, 0.04)] * len(seeds)
        axes.plot(beside, seeds, ".", color=look.colour, alpha=0.6, markersize=3, zorder=2)


def _draw_floats(
    axes: Axes, comparison: Comparison, settings: Sequence[Setting], looks: Mapping[str, Look]
) -> list[Line2D]:
    group = comparison.float_of(settings[0])
    if group is None or not group.accuracy_estimate.n:
        return []
    found = group.accuracy_estimate
    look = looks.get(group.label, Look("#000000", "", "--"))
    axes.axhline(found.mean, color=look.colour, linestyle=look.line, linewidth=1, zorder=1)
    if found.has_interval and not math.isnan(found.half_width):
        axes.axhspan(found.low, found.high, color=look.colour, alpha=0.08, linewidth=0, zorder=0)
    return [Line2D([], [], color=look.colour, linestyle=look.line, label=wrapped(group.label))]


def _handle(label: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=wrapped(label))


def _label(
    figure: Figure,
    axes: Axes,
    settings: Sequence[Setting],
    pair: tuple[str, str],
    comparison: Comparison,
) -> None:
    counts = [
        group.accuracy_estimate.n
        for setting in settings
        for group in comparison.competitors(setting)
    ]
    seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    what = "mean and 95 % t interval over" if max(counts) >= MINIMUM_SEEDS else "mean of"
    plural = "seed" if seeds == "1" else "seeds"
    titled(figure, pair, "deployed test accuracy", f"{what} {seeds} {plural} a row")
    axes.set_xlabel("bits of weights (W) and activations (A)")
    axes.set_ylabel("deployed test accuracy (%)")
    axes.set_xticks(range(len(settings)), [setting.bits for setting in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.grid(visible=False, axis="x")
    for border in range(1, len(settings)):
        axes.axvline(border - 0.5, color="0.85", linewidth=0.8, zorder=0)
