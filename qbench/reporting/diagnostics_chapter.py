"""The chapter of a report that tells why rows differ: pictures, summary and correlations."""

from collections import Counter
from collections.abc import Iterator, Sequence

from qbench.reporting.compare import Comparison
from qbench.reporting.correlations import correlation_table
from qbench.reporting.diagnostics_table import summary_table
from qbench.reporting.document import Figure, Heading, Part, Text
from qbench.reporting.figures import FEW_PAIRS, drawn_pairs
from qbench.reporting.panels import MOST_BITS, MOST_ROWS

__all__ = ["diagnostics_chapter"]

INTRODUCTIONS = {
    "map": (
        "Who suffers from what: to the right, training computes with other values than "
        "deployment; upwards, the gradient foretells less of what changed codes do to the "
        "deployed loss. In the grey bands neither threshold of the summary is passed."
    ),
    "scatter": (
        "Each point is a set of 1 % of a layer's codes, moved by one level: the change of loss "
        "that the gradient predicts against the real one, of one seed. A tilt is a wrong "
        "magnitude, a cloud a mismatch, a vertical shift curvature."
    ),
    "scales": (
        "No gradient is right at every scale: each curve is read where training moves, at the "
        "vertical line of its row, the share of codes that the last watched steps changed. A "
        "row without a line changed fewer than the axis shows."
    ),
    "timeline": (
        "As a soft forward hardens its gap falls; what it pays is a gradient that vanishes (the "
        "norm of g, the gradient of the latent weights) or foretells less (r)."
    ),
    "epochs-gap": "Where in the network, from input (above) to output, and when in training.",
    "waterfall": (
        "How accuracy on held-out images changes when the trained network's values are replaced "
        "by those that are deployed; rows at 0 train with deployed values."
    ),
}


def diagnostics_chapter(
    comparison: Comparison, figures: Sequence[tuple[str, Figure]]
) -> Iterator[Part]:
    """The chapter; nothing where no diagnostic gave anything to show.

    Args:
        comparison: The study's results.
        figures: What was drawn, with its kind.
    """
    tables = [
        table
        for number, setting in enumerate(comparison.settings, 1)
        if (table := summary_table(comparison, setting, f"diagnostics-{number}")) is not None
    ]
    correlations = correlation_table(comparison)
    if not (tables or correlations or figures):
        return
    yield Heading("Diagnostics")
    yield from _drawn("map", figures)
    cut = list(_cut(comparison)) if figures else []
    if cut:
        yield Text(f"Figures of diagnostics are cut: {'; '.join(cut)}. The tables hold all.")
    yield from tables
    for kind in dict.fromkeys(kind for kind, _ in figures):
        if kind not in ("map", "correlations"):
            yield from _drawn(kind, figures)
    if correlations is not None:
        yield Heading("Which diagnostics go with accuracy", level=3)
        yield from _drawn("correlations", figures)
        yield correlations
    damaged = list(comparison.traces.damaged)
    if damaged:
        yield Text(f"Not drawn, since their files are damaged: {', '.join(damaged[:20])}.")


def _cut(comparison: Comparison) -> Iterator[str]:
    """What the figures leave out."""
    rows = [label for label in comparison.labels if not comparison.is_float(label)]
    bits = max(Counter(setting[:2] for setting in comparison.settings).values())
    pairs, shown = len(comparison.pairs), len(drawn_pairs(comparison, FEW_PAIRS))
    if len(rows) > MOST_ROWS:
        yield f"the first {MOST_ROWS} of {len(rows)} rows"
    if bits > MOST_BITS:
        yield f"the first {MOST_BITS} of {bits} bit settings"
    if pairs > shown:
        yield f"all but the map for the first {shown} of {pairs} pairs of model and data set"


def _drawn(kind: str, figures: Sequence[tuple[str, Figure]]) -> Iterator[Part]:
    found = [figure for own, figure in figures if own == kind]
    if found and kind in INTRODUCTIONS:
        yield Text(INTRODUCTIONS[kind])
    yield from found
