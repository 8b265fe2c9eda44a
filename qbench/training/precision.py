"""How a GPU multiplies float32 matrices."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import backends

__all__ = ["products_in", "set_products"]

_Kind = Literal["ieee", "tf32"]


def _parts() -> tuple[Any, Any]:
    cudnn: Any = backends.cudnn  # its parts are unknown to type checkers
    return cudnn.conv, backends.cuda.matmul


def set_products(kind: _Kind) -> None:
    """From now on multiply in full float32, or with the 10 bits of mantissa of TF32."""
    for part in _parts():
        part.fp32_precision = kind


@contextmanager
def products_in(kind: _Kind) -> Iterator[None]:
    """Inside multiply in full float32, or with the 10 bits of mantissa of TF32."""
    before = [part.fp32_precision for part in _parts()]
    set_products(kind)
    try:
        yield
    finally:
        for part, precision in zip(_parts(), before, strict=True):
            part.fp32_precision = precision
