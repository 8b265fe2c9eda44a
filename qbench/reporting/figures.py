"""The figures of a report: one of each kind for a model and a data set, readable by themselves."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure as Drawing

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Figure
from qbench.reporting.figure_accuracy import draw_accuracy
from qbench.reporting.figure_cost import draw_cost
from qbench.reporting.figure_critical import draw_critical
from qbench.reporting.figure_curves import draw_curves
from qbench.reporting.figure_differences import draw_differences
from qbench.reporting.figure_epochs import EPOCH_MAPS, draw_epochs
from qbench.reporting.figure_forest import draw_forest
from qbench.reporting.figure_layers import draw_latent_error
from qbench.reporting.figure_map import draw_map
from qbench.reporting.figure_pareto import draw_pareto
from qbench.reporting.figure_profile import draw_profile
from qbench.reporting.figure_scales import draw_scales
from qbench.reporting.figure_scatter import draw_scatter
from qbench.reporting.figure_timeline import draw_timeline
from qbench.reporting.figure_tuning import draw_sensitivity, draw_tuning
from qbench.reporting.figure_waterfall import draw_waterfall
from qbench.reporting.style import looks, style

__all__ = [
    "COMPARING", "COSTING", "DIAGNOSING", "FEW_PAIRS", "RANKING", "TUNING", "Kind",
    "drawn_pairs", "write_figures",
]  # fmt: skip

MOST_PAIRS = 4
"""Pairs of model and data set that are drawn; of a study with more, half as many. The tables hold
all."""
FEW_PAIRS = 2
"""Of figures with many panels, which take seconds each."""

Pair = tuple[str, str]


class Kind(NamedTuple):
    """A kind of figure, drawn for each pair of model and data set, or once for the study."""

    name: str
    """Of letters and hyphens; the start of its files' names."""
    draw: Callable[..., Drawing | None]
    """Of the comparison, of the pair where it is one of pairs, and of the rows' looks."""
    words: str
    pairs: int = MOST_PAIRS
    """Pairs that are drawn; 0 for a figure of the whole study."""


COMPARING = (
    Kind("accuracy", draw_accuracy, "Deployed test accuracy over bits"),
    Kind("differences", draw_differences, "Gain on the baseline, paired by seed"),
    Kind("curves", draw_curves, "Learning curves"),
)
RANKING = (
    Kind("critical", draw_critical, "Average ranks over all settings", 0),
    Kind("profile", draw_profile, "Performance profile over all settings", 0),
)
TUNING = (
    Kind("tuning", draw_tuning, "Best validation accuracy over the trials of a search"),
    Kind("sensitivity", draw_sensitivity, "Validation accuracy over the learning rate"),
)
COSTING = (
    Kind("pareto", draw_pareto, "Accuracy against size and bit-operations"),
    Kind("cost", draw_cost, "What training costs", FEW_PAIRS),
)
DIAGNOSING = (
    Kind("map", draw_map, "Diagnosis map"),
    Kind("scatter", draw_scatter, "Predicted and actual loss changes of flip sets", FEW_PAIRS),
    Kind("scales", draw_scales, "Agreement of the gradient over the share of codes that change",
         FEW_PAIRS),
    Kind("waterfall", draw_waterfall, "What hard values cost", FEW_PAIRS),
    Kind("timeline", draw_timeline, "Annealing over training", FEW_PAIRS),
    *(
        Kind(f"epochs-{kind}", partial(draw_epochs, kind), f"Over layers and epochs: {drawn.words}",
             FEW_PAIRS)
        for kind, drawn in EPOCH_MAPS.items()
    ),
    Kind("latent-error", draw_latent_error, "Latent-to-code error of each layer", FEW_PAIRS),
    Kind("correlations", draw_forest, "Which diagnostics go with accuracy", FEW_PAIRS),
)  # fmt: skip


def write_figures(
    comparison: Comparison, folder: Path, kinds: Iterable[Kind]
) -> Iterator[tuple[str, Figure]]:
    """Draw and save what there is something to draw of, as PNG and PDF without dates.

    Args:
        comparison: What to draw.
        folder: The report's folder; the files go to ``figures`` inside.
        kinds: What to draw.

    Yields:
        The kind's name and the figure.
    """
    searches = comparison.searches.all
    labels = dict.fromkeys([*comparison.labels, *(search.label for search in searches)])
    floats = {label for label in comparison.labels if comparison.is_float(label)}
    floats |= {search.label for search in searches if search.is_float}
    seen = looks(list(labels), list(floats))
    used: set[str] = set()
    for kind in kinds:
        for pair in drawn_pairs(comparison, kind.pairs) if kind.pairs else [()]:
            with style():
                drawing = kind.draw(comparison, *([pair] if pair else []), seen)
                if drawing is None:
                    continue
                path = Path("figures") / _file_name(kind.name, pair, used)
                _save(drawing, folder / path)
            where = f": {pair[0]} on {pair[1]}" if pair else ""
            yield kind.name, Figure(path, f"{kind.words}{where}")


def drawn_pairs(comparison: Comparison, most: int = MOST_PAIRS) -> list[Pair]:
    """The pairs of model and data set that are drawn: at most so many, of many half of that."""
    pairs = comparison.pairs
    return pairs[: most if len(pairs) <= MOST_PAIRS else most // 2]


def _file_name(kind: str, pair: Pair | tuple[()], used: set[str]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join((kind, *pair))).strip("-")[:80]
    name, count = words, 1
    while name in used:  # two names may differ only in what a file name cannot hold
        count += 1
        name = f"{words}-{count}"
    used.add(name)
    return name


def _save(drawing: Drawing, path: Path) -> None:
    """Write both files; ``savefig`` would draw everything once more for each, to lay it out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.dpi = rcParams["savefig.dpi"]
    raster = FigureCanvasAgg(drawing)
    raster.print_png(  # type: ignore[no-untyped-call]
        path.with_suffix(".png"), metadata={"Software": None}
    )
    drawing.set_layout_engine("none")  # as it was laid out for the first file
    undated = {"CreationDate": None, "Producer": None}
    canvas = FigureCanvasPdf(drawing)
    canvas.print_pdf(path.with_suffix(".pdf"), metadata=undated)  # type: ignore[no-untyped-call]
