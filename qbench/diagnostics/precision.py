"""Float32 arithmetic without shortcuts, for differences of losses that are nearly equal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import backends

__all__ = ["full_precision"]


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 inside, which torch's convolutions have by default, and the same sums each time.

    TF32 keeps 10 bits: its error in a loss is larger than what a move of few codes does to it.
    """
    cudnn: Any = backends.cudnn  # its parts are unknown to type checkers
    parts = (cudnn.conv, backends.cuda.matmul)
    before = [part.fp32_precision for part in parts]
    deterministic = backends.cudnn.deterministic
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        backends.cudnn.deterministic = True
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision
        backends.cudnn.deterministic = deterministic
