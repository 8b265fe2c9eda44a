"""Python's garbage collector, kept out of a block or of what is there before it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_collection", "set_aside"]


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage inside, in no thread; where some may be in the way, collect it before."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Leave what is there at the start out of collections inside: it is large, and it stays."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
