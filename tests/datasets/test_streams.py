import numpy as np
import pytest

from qbench.datasets.streams import stream


def test_equal_arguments_give_equal_numbers():
    np.testing.assert_array_equal(
        stream(3, "crop", 5).integers(0, 1000, 50), stream(3, "crop", 5).integers(0, 1000, 50)
    )


@pytest.mark.parametrize(
    "other", [(4, "crop", 1, 2), (3, "flip", 1, 2), (3, "crop", 2, 1), (3, "crop", 12), (3, "crop")]
)
def test_other_arguments_give_other_numbers(other):
    ours, theirs = stream(3, "crop", 1, 2), stream(*other)
    assert not np.array_equal(ours.integers(0, 2**62, 4), theirs.integers(0, 2**62, 4))


def test_numbers_stay_what_they_were():
    # Recorded: another value means that every trial gets other data, so PROTOCOL must be raised.
    assert stream(0, "order", 0).permutation(8).tolist() == [5, 2, 1, 3, 6, 4, 7, 0]
