"""How a GPU multiplies float32 matrices; losses that are nearly equal need it done exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import backends

__all__ = ["full_precision", "products_in"]


@contextmanager
def products_in(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Inside multiply in full float32, or with the 10 bits of mantissa of TF32."""
    cudnn: Any = backends.cudnn  # its parts are unknown to type checkers
    parts = (cudnn.conv, backends.cuda.matmul)
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = kind
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 inside, which torch's convolutions have by default, and the same sums each time.

    TF32 keeps 10 bits: its error in a loss is larger than what a move of few codes does to it.
    """
    deterministic = backends.cudnn.deterministic
    with products_in("ieee"):
        try:
            backends.cudnn.deterministic = True
            yield
        finally:
            backends.cudnn.deterministic = deterministic
