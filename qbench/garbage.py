"""Python's garbage collector, kept out of a block."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_collection"]


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage before the block, and none inside, in no thread."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
