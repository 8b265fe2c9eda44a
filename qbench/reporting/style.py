"""One look for every figure: a method has the same colour, marker and line everywhere.

The colours are Paul Tol's "muted" scheme and four of Okabe and Ito's, which colour-blind readers
tell apart; markers and line patterns say the same in greyscale.
"""

import hashlib
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import seaborn
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.figure import Figure

__all__ = ["Look", "legend_width", "looks", "new_figure", "style", "wrapped"]

LABEL_WIDTH = 28
"""Characters in a line of a legend."""
FLOAT_COLOUR = "#000000"
COLOURS = (
    "#332288", "#CC6677", "#117733", "#E69F00", "#44AA99", "#882255", "#0072B2", "#999933",
    "#AA4499", "#D55E00", "#88CCEE", "#661100",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
RESERVED = (
    "ste", "dorefa", "lsq", "daq", "metaquant", "quantnet", "quantization_networks",
    "negative_control",
)  # fmt: skip
"""The core methods, each with a look of its own, in the order of the colours."""


@dataclass(frozen=True)
class Look:
    """How a row is drawn."""

    colour: str
    marker: str
    line: Any


def looks(labels: Sequence[str], floats: Sequence[str] = ()) -> dict[str, Look]:
    """The look of each row; it depends on its name, and on others only where two would collide.

    A core method always has its own look: the row with its name, or else the first of its
    rows with options. Other rows choose first among the colours that no method has.

    Args:
        labels: The rows of a study.
        floats: Those that are float networks: black.
    """
    others = [label for label in labels if label not in floats]
    owners: dict[str, str] = {}
    for label in sorted(others, key=lambda label: label not in RESERVED):
        owners.setdefault(label.split(" (")[0], label)
    places = {owners[name]: place for place, name in enumerate(RESERVED) if name in owners}
    for label in others:
        if label not in places:
            taken = set(places.values())
            places[label] = next(place for place in _wanted(label) if place not in taken)
    found = {label: _look(place) for label, place in places.items()}
    found |= {label: Look(FLOAT_COLOUR, "", (0, (6, 3))) for label in floats}
    return {label: found[label] for label in labels}


def _wanted(label: str) -> Iterator[int]:
    """Places by preference; after every colour is taken, colours return with other markers."""
    number = hashlib.blake2b(label.encode(), digest_size=2).digest()[0]
    size, reserved = len(COLOURS), len(RESERVED)
    spare = size - reserved
    yield from (reserved + (number + step) % spare for step in range(spare))
    for turn in itertools.count():
        yield from (turn * size + (number + step) % size for step in range(size))


def _look(place: int) -> Look:
    turn, colour = divmod(place, len(COLOURS))
    return Look(
        COLOURS[colour],
        MARKERS[(colour + 5 * turn) % len(MARKERS)],
        LINES[(colour + turn) % len(LINES)],
    )


@cache
def _font() -> str:
    """The name of DejaVu Sans, which comes with matplotlib, without its tables for typesetting.

    Figures do not use them, and to read them takes most of the time of embedding the font in a PDF.
    """
    name = "DejaVu Sans of qbench"
    for weight in ("normal", "bold"):
        wanted = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
        whole = TTFont(font_manager.findfont(wanted), recalcTimestamp=False)  # the same bytes
        for table in ("GSUB", "GPOS", "GDEF", "MATH"):
            if table in whole:
                del whole[table]
        for record in whole["name"].names:
            record.string = record.toUnicode().replace("DejaVu Sans", name)
        path = Path(_FOLDER.name) / f"{weight}.ttf"
        whole.save(path)
        font_manager.fontManager.addfont(path)
    return name


_FOLDER = TemporaryDirectory()  # until the process ends: matplotlib reads the file again


@contextmanager
def style() -> Iterator[None]:
    """The settings of every figure, for the block only."""
    settings: dict[Any, Any] = {
        "font.sans-serif": [_font(), "DejaVu Sans"],
        "axes.titlesize": 9,
        "figure.titlesize": 10,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 5,
        "grid.linewidth": 0.5,
        "axes.linewidth": 0.8,
        "pdf.fonttype": 42,  # outlines that journals accept
        "savefig.dpi": 150,
        "text.parse_math": False,  # a name with dollar signs is a name
    }
    with seaborn.plotting_context("paper"), seaborn.axes_style("whitegrid"), mpl.rc_context():
        mpl.rcParams.update(settings)
        yield


def wrapped(label: str) -> str:
    """A row's name in lines short enough for a legend."""
    return "\n".join(textwrap.wrap(label, LABEL_WIDTH)) or label


def legend_width(labels: Sequence[str]) -> float:
    """Room in inches for a legend with these names beside the axes."""
    longest = max((min(len(label), LABEL_WIDTH) for label in labels), default=0)
    return 0.8 + 0.075 * max(longest, len("one seed"))


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that lays its parts out without overlap, and that no window shows."""
    return Figure(figsize=(width, height), layout="constrained")
