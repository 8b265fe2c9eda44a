"""Knobs of searches in words: short names, values, and whether a value is at its space's edge."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from qbench.reporting.numbers import NOTHING
from qbench.study.spaces import Choices, Range, Space

__all__ = ["EDGE", "edge", "number_of", "short_names", "space_words", "value_words"]

EDGE = 0.1
"""Of a range, on its own scale: what lies so near to an end is at its edge."""
FEWEST = 3
"""Choices of numbers without one in the middle have no edge."""


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """``learning rate`` for ``training.optimizer.learning_rate``.

    Where a method's option has the name of a setting of the recipe, it is ``method's learning
    rate``; where two names agree still, they are the keys.
    """
    ends = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    names = {key: end.replace("_", " ") for key, end in ends.items()}
    counts = Counter(names.values())
    for key, name in names.items():
        if counts[name] > 1 and key.startswith("options."):
            names[key] = f"method's {name}"
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else key for key, name in names.items()}


def value_words(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else NOTHING
    return str(value)


def space_words(space: Space) -> str:
    """``0.01 to 1 (log)``, or the choices."""
    if isinstance(space, Choices):
        return ", ".join(value_words(value) for value in space.values)
    scale = " (log)" if space.log else ""
    return f"{value_words(space.low)} to {value_words(space.high)}{scale}"


def edge(space: Space, value: Any) -> str:
    """``↓`` or ``↑`` for a value at the lower or upper end of its space, or beyond; else empty."""
    number = number_of(value)
    if number is None:
        return ""
    if isinstance(space, Range):
        place = _place(space, number)
    else:
        known = [number_of(one) for one in space.values]
        numbers = [one for one in known if one is not None]
        if len(numbers) < max(len(known), FEWEST):
            return ""
        low, high = min(numbers), max(numbers)
        place = (number - low) / (high - low)
        if 0 < place < 1:
            return ""
    if place <= EDGE:
        return "↓"
    return "↑" if place >= 1 - EDGE else ""


def _place(space: Range, value: float) -> float:
    """0 at the lower end, 1 at the upper."""
    if not space.log:
        return (value - space.low) / (space.high - space.low)
    if value <= 0:
        return 0.0
    return math.log(value / space.low) / math.log(space.high / space.low)


def number_of(value: Any) -> float | None:
    """A finite number as one, and nothing else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
