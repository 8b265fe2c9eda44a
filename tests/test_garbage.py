"""The collector inside and after a block."""

import gc
import weakref

from qbench.garbage import no_collection, set_aside


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.self = self


def test_a_block_without_collection() -> None:
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_there_is_set_aside_until_the_end() -> None:
    before = Ring()
    gone = weakref.ref(before)
    with set_aside():
        inside = Ring()
        found = weakref.ref(inside)
        del before, inside
        gc.collect()
        assert gone() is not None
        assert found() is None
    gc.collect()
    assert gone() is None
