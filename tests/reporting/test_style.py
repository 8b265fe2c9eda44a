"""A row looks the same in every figure, and no two rows look alike."""

from itertools import combinations

import numpy as np
import pytest

from qbench.registry import quantizers
from qbench.reporting.style import COLOURS, RESERVED, looks

SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes 2009, severity 1."""
XYZ = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0178, 0.1095, 0.8728]]
"""From linear sRGB, over the white point D65."""


def lab(colour: str, sight: object) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(np.asarray(sight) @ linear, 1e-3, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_core_method_has_a_look_of_its_own() -> None:
    assert set(RESERVED) < set(quantizers.entries()) - {"float"}  # float is black
    found = looks(RESERVED)
    assert len({look.colour for look in found.values()}) == len(RESERVED)
    assert len({look.marker for look in found.values()}) == len(RESERVED)


@pytest.mark.parametrize("sight", SIGHT)
def test_methods_are_told_apart_without_a_kind_of_cone(sight: str) -> None:
    seen = [lab(look.colour, SIGHT[sight]) for look in looks(RESERVED).values()]
    # a difference of 2.3 is just noticed; 10 is told at a glance
    assert min(np.linalg.norm(one - two) for one, two in combinations(seen, 2)) > 10


@pytest.mark.parametrize("name", RESERVED)
def test_a_known_method_looks_the_same_in_every_study(name: str) -> None:
    alone = looks([name])[name]
    strangers = [f"method {index}" for index in range(30)]
    assert looks([f"{name} (bits=2)", *strangers, *RESERVED])[name] == alone
    assert looks([*strangers, name])[name] == alone
    assert looks(["float", name], ["float"])[name] == alone
    assert looks(["ste (a=1)", f"{name} (a=1)"])[f"{name} (a=1)"] == alone  # its only row


def test_a_stranger_does_not_look_like_a_method_that_is_absent() -> None:
    methods = {look.colour for look in looks(RESERVED).values()}
    strangers = looks([f"method {index}" for index in range(len(COLOURS) - len(RESERVED))])
    assert not methods & {look.colour for look in strangers.values()}


def test_an_unknown_method_keeps_its_look_among_others_that_do_not_collide() -> None:
    assert looks(["my_method"]) == {"my_method": looks(["my_method", "float"])["my_method"]}


@pytest.mark.parametrize("count", [12, 40])
def test_no_two_rows_look_alike(count: int) -> None:
    found = looks([f"method {index}" for index in range(count)])
    assert len({(look.colour, look.marker) for look in found.values()}) == count


def test_twelve_rows_differ_in_colour_and_in_marker() -> None:
    found = looks([f"method {index}" for index in range(12)]).values()
    assert len({look.colour for look in found}) == len(COLOURS)
    assert len({look.marker for look in found}) == len(COLOURS)
