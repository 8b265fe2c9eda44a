"""A row looks the same in every figure, and no two rows look alike."""

import pytest

from qbench.reporting.style import COLOURS, RESERVED, looks


def test_a_known_method_looks_the_same_in_every_study() -> None:
    alone = looks(["lsq"])["lsq"]
    assert looks(["my_method", "ste", "lsq", *RESERVED[3:]])["lsq"] == alone
    assert looks(["float", "lsq"], ["float"])["lsq"] == alone


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
