"""What glibc does with memory that a step frees: keep it, since the next step asks for as much.

By itself it gives large blocks back to the system, which clears and maps every page anew in the
next step: thousands of page faults, and caches that are cold. Values do not depend on it. Where
another C library or allocator is at work, nothing happens here.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["giving_freed_memory_back", "keep_freed_memory"]

_LIBC = ctypes.CDLL(None)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**31 - 1}
_GIVEN_BACK = {_MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}  # where glibc's own rule ends


def keep_freed_memory() -> None:
    """Keep what is freed from now on; what was freed so far, by another trial, is given back."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
    _set(_KEPT)


@contextmanager
def giving_freed_memory_back() -> Iterator[None]:
    """Inside, give large blocks back as glibc does by itself; a comparison needs that."""
    _set(_GIVEN_BACK)
    try:
        yield
    finally:
        _set(_KEPT)


def _set(options: dict[int, int]) -> None:
    if hasattr(_LIBC, "mallopt"):
        for option, value in options.items():
            _LIBC.mallopt(option, value)
