"""Places on a logarithmic axis for points of equal cost, side by side so that none is covered."""

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["EDGE", "FLOAT_ROOM", "Spread", "spread"]

EDGE = 0.13
"""Inches between two points, where there is room, and from a point to the border."""
FLOAT_ROOM = 0.6
"""Inches at the right that are no part of the scale."""
NEAR = 0.2
"""Inches: columns of points that are closer are laid out as one."""
FULL = 0.9
"""How much of the way to the next column a column may take."""
ONE_COST = 0.3
"""Decades of an axis on which all costs are equal."""


class Spread(NamedTuple):
    """Where points stand, in inches from the axis' left end, and its scale."""

    places: list[float]
    start: float
    """The inches of ``low``."""
    low: float
    """The decimal logarithm of the smallest cost."""
    inches_per_decade: float

    def inches(self, cost: float) -> float:
        """Where a cost stands on the scale."""
        return self.start + (math.log10(cost) - self.low) * self.inches_per_decade

    def cost_at(self, inches: float) -> float:
        """The cost that stands there."""
        return float(10 ** (self.low + (inches - self.start) / self.inches_per_decade))


def spread(costs: Sequence[float], width: float) -> Spread:
    """Spread points sideways around where their costs stand.

    Args:
        costs: In rising order; those that are equal stand side by side in their order.
        width: Of the axis in inches, ``FLOAT_ROOM`` included.
    """
    low, high = math.log10(costs[0]), math.log10(costs[-1])
    largest = max(costs.count(cost) for cost in set(costs))
    inner = width - FLOAT_ROOM
    pad = min(EDGE * (largest / 2 + 1), inner / (2 + len(set(costs))))
    if high > low:
        scale = Spread([], pad, low, (inner - 2 * pad) / (high - low))
    else:
        scale = Spread([], inner / 2, low, inner / ONE_COST)
    columns = _columns([scale.inches(cost) for cost in costs])
    centres = [sum(column) / len(column) for column in columns]
    borders = [-centres[0], *centres, 2 * inner - centres[-1]]
    places: list[float] = []
    for number, (centre, column) in enumerate(zip(centres, columns, strict=True), 1):
        free = min(centre - borders[number - 1], borders[number + 1] - centre)
        step = min(EDGE, FULL * free / len(column))
        places += [centre + step * (k - (len(column) - 1) / 2) for k in range(len(column))]
    return scale._replace(places=places)


def _columns(inches: Sequence[float]) -> list[list[float]]:
    columns: list[list[float]] = []
    for place in inches:
        if columns and place - columns[-1][0] < NEAR:
            columns[-1].append(place)
        else:
            columns.append([place])
    return columns
