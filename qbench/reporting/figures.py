"""The figures of a report: one of each kind for a model and a data set, readable by themselves."""

import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Figure
from qbench.reporting.figure_accuracy import draw_accuracy
from qbench.reporting.figure_curves import draw_curves
from qbench.reporting.figure_layers import draw_discretization, draw_quantization
from qbench.reporting.style import looks, style

__all__ = ["MOST_PAIRS", "write_figures"]

MOST_PAIRS = 6
"""Pairs of model and data set that are drawn; the tables hold all."""

Pair = tuple[str, str]


def write_figures(comparison: Comparison, folder: Path) -> Iterator[Figure]:
    """Draw and save what there is something to draw of, as PNG and PDF without dates.

    Args:
        comparison: What to draw.
        folder: The report's folder; the files go to ``figures`` inside.
    """
    floats = [label for label in comparison.labels if comparison.is_float(label)]
    seen = looks(comparison.labels, floats)
    kinds = (
        ("accuracy", draw_accuracy, "Deployed test accuracy over bits"),
        ("curves", draw_curves, "Learning curves"),
        ("discretization", draw_discretization, "Discretization error of each layer"),
        ("quantization", draw_quantization, "Quantization error of each layer"),
    )
    used: set[str] = set()
    for kind, draw, words in kinds:
        for pair in comparison.pairs[:MOST_PAIRS]:
            with style():
                drawing = draw(comparison, pair, seen)
                if drawing is None:
                    continue
                path = Path("figures") / _file_name(kind, pair, used)
                _save(drawing, folder / path)
            yield Figure(path, f"{words}: {pair[0]} on {pair[1]}")


def _file_name(kind: str, pair: Pair, used: set[str]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join((kind, *pair))).strip("-")[:80]
    name, count = words, 1
    while name in used:  # two names may differ only in what a file name cannot hold
        count += 1
        name = f"{words}-{count}"
    used.add(name)
    return name


def _save(drawing: Drawing, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path.with_suffix(".png"), metadata={"Software": None})
    drawing.set_layout_engine("none")  # as it was laid out for the first file; laying out is slow
    drawing.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None, "Producer": None})
