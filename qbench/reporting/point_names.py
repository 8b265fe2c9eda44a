"""Names beside the points of a picture, where they hide least of each other and of the points."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

__all__ = ["Box", "Spot", "name_points"]

SIZE = 6.5
LETTER, LINE = 0.57 * SIZE, 1.25 * SIZE
"""Width and height of a letter in points, about."""
LONGEST = 16
"""Letters of a name for which there is no room; its middle is left out, the legend has it whole."""

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, from the lower left corner: in points or in shares of the axes."""


class Spot(NamedTuple):
    """A point with a name; places are shares of the axes."""

    name: str
    x: float
    y: float
    low: float
    """The ends of its bar."""
    high: float
    radius: float
    """Of its marker, in points."""
    upright: bool = False
    """Whether the name runs upwards: it then takes little room between close neighbours."""


def name_points(
    axes: Axes, spots: Sequence[Spot], width: float, height: float, others: Sequence[Box] = ()
) -> None:
    """Write the name of each point beside it, in full where that hides nothing.

    Args:
        axes: Where the points are drawn.
        spots: The points; the first choose first.
        width: Of the axes in points, about; names that lie outside are avoided.
        height: Likewise.
        others: What else should not be written over, in shares of the axes.
    """
    size = width, height
    fixed = [box for spot in spots for box in _own(spot, *size)]
    fixed += [(a * width, b * height, c * width, d * height) for a, b, c, d in others]
    found: list[tuple[float, str, Box]] = []
    for spot in spots:
        taken = [*fixed, *(box for *_, box in found)]
        found.append(_best(spot, [_shortened(spot.name)], taken, size))
    for place, spot in enumerate(spots):
        taken = [*fixed, *(box for index, (*_, box) in enumerate(found) if index != place)]
        whole = _best(spot, [_halved(spot.name), spot.name], taken, size)
        found[place] = found[place] if whole[0] else whole
    for spot, (_, text, box) in zip(spots, found, strict=True):
        axes.text(
            (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height, text, fontsize=SIZE,
            transform=axes.transAxes, ha="center", va="center", color="0.15", zorder=6,
            rotation=90 if spot.upright else 0, linespacing=1.0,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )  # fmt: skip


def _best(
    spot: Spot, texts: Sequence[str], taken: Sequence[Box], size: tuple[float, float]
) -> tuple[float, str, Box]:
    """The area that is hidden, the text and its place; the first of those that hide least."""
    options = [(text, box) for text in texts for box in _candidates(spot, text, *size)]
    hidden = [
        _outside(box, *size) + sum(_shared(box, other) for other in taken) for _, box in options
    ]
    least = min(range(len(options)), key=hidden.__getitem__)
    return hidden[least], *options[least]


def _halved(name: str) -> str:
    """A long name in two lines of about one length, if it has several words."""
    spaces = [place for place, letter in enumerate(name) if letter == " "]
    if not spaces or len(name) <= LONGEST:
        return name
    middle = min(spaces, key=lambda place: abs(2 * place - len(name)))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def _shortened(name: str) -> str:
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _own(spot: Spot, width: float, height: float) -> Iterator[Box]:
    """What a point covers itself: its marker and its bar."""
    x, y = spot.x * width, spot.y * height
    yield (x - spot.radius, y - spot.radius, x + spot.radius, y + spot.radius)
    yield (x - 2, spot.low * height, x + 2, spot.high * height)


def _candidates(spot: Spot, text: str, width: float, height: float) -> Iterator[Box]:
    x, y = spot.x * width, spot.y * height
    low = min(spot.low * height, y - spot.radius) - 1
    high = max(spot.high * height, y + spot.radius) + 1
    lines = text.split("\n")
    across, up = max(len(line) for line in lines) * LETTER, LINE * len(lines)
    if spot.upright:
        across, up = up, across
        centres = [(x, low - up / 2), (x, high + up / 2)]
    else:
        beside = spot.radius + 2 + across / 2
        centres = [
            (x + side * beside, y + shift)
            for shift in (0, 0.7 * up, -0.7 * up, 1.4 * up, -1.4 * up)
            for side in (1, -1)
        ]
        kept = min(max(x, across / 2), width - across / 2)
        centres[2:2] = [(kept, high + up / 2), (kept, low - up / 2)]
    for across_centre, up_centre in centres:
        left, bottom = across_centre - across / 2, up_centre - up / 2
        yield (left, bottom, left + across, bottom + up)


def _shared(first: Box, second: Box) -> float:
    across = min(first[2], second[2]) - max(first[0], second[0])
    up = min(first[3], second[3]) - max(first[1], second[1])
    return max(across, 0) * max(up, 0)


def _outside(box: Box, width: float, height: float) -> float:
    """The area of a box that lies outside the axes, ten times."""
    inside = _shared(box, (0, 0, width, height))
    return 10 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)
