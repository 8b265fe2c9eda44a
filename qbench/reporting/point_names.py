"""Names beside the points of a picture, where they hide least of each other and of the points."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

__all__ = ["Spot", "name_points"]

SIZE = 6.5
LETTER, LINE = 0.57 * SIZE, 1.25 * SIZE
"""Width and height of a letter in points, about."""
LONGEST = 16
"""Letters of a name; of a longer one the middle is left out, and the legend has it whole."""

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points from the lower left corner."""


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


def name_points(axes: Axes, spots: Sequence[Spot], width: float, height: float) -> None:
    """Write the name of each point beside it.

    Args:
        axes: Where the points are drawn.
        spots: The points; the first choose first.
        width: Of the axes in points, about; names that lie outside are avoided.
        height: Likewise.
    """
    taken = [box for spot in spots for box in _own(spot, width, height)]
    for spot in spots:
        text = _shortened(spot.name)
        box = min(
            _candidates(spot, len(text), width, height),
            key=lambda box: (
                _outside(box, width, height) + sum(_shared(box, other) for other in taken)
            ),
        )
        taken.append(box)
        axes.text(
            (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height, text, fontsize=SIZE,
            transform=axes.transAxes, ha="center", va="center", color="0.15", zorder=6,
            rotation=90 if spot.upright else 0,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )  # fmt: skip


def _shortened(name: str) -> str:
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _own(spot: Spot, width: float, height: float) -> Iterator[Box]:
    """What a point covers itself: its marker and its bar."""
    x, y = spot.x * width, spot.y * height
    yield (x - spot.radius, y - spot.radius, x + spot.radius, y + spot.radius)
    yield (x - 2, spot.low * height, x + 2, spot.high * height)


def _candidates(spot: Spot, letters: int, width: float, height: float) -> Iterator[Box]:
    x, y = spot.x * width, spot.y * height
    low = min(spot.low * height, y - spot.radius) - 1
    high = max(spot.high * height, y + spot.radius) + 1
    across, up = letters * LETTER, LINE
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
