"""What a search may set a knob to: a list of choices, or a range."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from qbench.study.sentences import SettingError, SettingPath, show

__all__ = ["Choices", "Range", "Space", "evenly", "lattice", "read_space"]

_FORMS = (
    "write a list of choices, {low: 0.01, high: 1, log: true}, or {times: [0.1, 10]} for multiples "
    "of the row's own value"
)
_DIGITS = 4  # of a drawn number: as many as a table shows


@dataclass(frozen=True)
class Choices:
    """Values that have no order."""

    values: tuple[Any, ...]

    def draw(self, random: Random) -> Any:
        """One of them, each as likely."""
        return random.choice(self.values)

    def points(self, count: int) -> list[Any]:
        """At most ``count`` of them, spread over the list."""
        return evenly(self.values, count)

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return "{" + ", ".join(str(value) for value in self.values) + "}"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included."""

    low: float
    high: float
    log: bool = False
    """Whether ratios count, in place of differences."""
    whole: bool = False
    """Whole numbers only."""

    def draw(self, random: Random) -> float | int:
        """A number, uniform on the range's scale."""
        return self._at(random.random())

    def points(self, count: int) -> list[float | int]:
        """At most ``count`` numbers, evenly spaced on the range's scale, ends included."""
        places = [0.5] if count == 1 else [k / (count - 1) for k in range(count)]
        return list(dict.fromkeys(self._at(place) for place in places))

    def holds(self, value: Any) -> bool:
        """Whether ``value`` lies between the bounds."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def _at(self, place: float) -> float | int:
        if self.log:
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + (self.high - self.low) * place
        return self.rounded(value)

    def rounded(self, value: float) -> float | int:
        """``value`` in as many digits as a table shows, inside the range."""
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g}" + (", log" if self.log else "")


Space = Choices | Range


def evenly(values: Iterable[Any], count: int) -> list[Any]:
    """At most ``count`` of the values, evenly spaced, the first included."""
    known = list(values)
    if len(known) <= count:
        return known
    return [known[k * len(known) // count] for k in range(count)]


def read_space(value: object, own: object, path: SettingPath) -> Space:
    """A space as a study or a method writes it.

    Args:
        value: A list, ``{low, high, log}``, or ``{times: [a, b]}``: a logarithmic range from ``a``
            to ``b`` times the row's own value.
        own: The row's own value.
        path: Where it stands, for messages.

    Raises:
        SettingError: It is no space, or there is nothing in it.
    """
    if isinstance(value, list | tuple):
        distinct = list(dict.fromkeys(map(repr, value)))
        if not value or len(distinct) < len(value):
            raise SettingError(path, f"{show(value)} needs one choice or more, each once")
        return Choices(tuple(value))
    if not isinstance(value, Mapping):
        raise SettingError(path, f"{show(value)} is no search space; {_FORMS}")
    if set(value) == {"times"}:
        factors = value["times"]
        if not (isinstance(factors, list | tuple) and len(factors) == 2 and _numbers(*factors)):
            raise SettingError((*path, "times"), f"write two numbers in place of {show(factors)}")
        if not (_numbers(own) and own >= 0):  # type: ignore[operator]
            raise SettingError(
                path, f"there are no multiples of {show(own)}, the row's own value; {_FORMS}"
            )
        if own == 0:
            return Choices((own,))
        low, high = (float(f"{factor * own:.{_DIGITS}g}") for factor in factors)
        return _range(low, high, log=True, path=(*path, "times"))
    if not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise SettingError(path, f"{show(dict(value))} is no search space; {_FORMS}")
    low, high, log = value["low"], value["high"], value.get("log", False)
    if not _numbers(low, high) or not isinstance(log, bool):
        raise SettingError(path, f"{show(dict(value))} is no search space; {_FORMS}")
    return _range(low, high, log=log, path=path)


def _range(low: float, high: float, *, log: bool, path: SettingPath) -> Range:
    if not low < high:
        raise SettingError(
            path, f"nothing lies between low {low:g} and high {high:g}; write the smaller one first"
        )
    if log and not low > 0:
        raise SettingError(path, f"a logarithmic range starts above 0, not at {low:g}")
    return Range(low, high, log, isinstance(low, int) and isinstance(high, int))


def _numbers(*values: object) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )


def lattice(space: Mapping[str, Space], count: int) -> list[dict[str, Any]]:
    """The coarsest lattice of at least ``count`` points, or all there are, in the space's order."""
    points: list[dict[str, Any]] = []
    for each in range(1, count + 1):
        axes = [one.points(each) for one in space.values()]
        points = [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]
        if len(points) >= count:
            break
    return points
