"""Rounding with gradient rules; pure functions of tensors, whose forward value is exact."""

from typing import Any

import torch
from torch import Tensor

__all__ = [
    "absolute_mean", "per_channel", "round_half_up", "scale_gradient", "sign", "with_gradient",
]  # fmt: skip


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor | None) -> Tensor:
        ctx.save_for_backward(*(() if slope is None else (slope,)))
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        saved = ctx.saved_tensors
        return (gradient * saved[0] if saved else gradient), None, None


def with_gradient(x: Tensor, value: Tensor, slope: Tensor | None = None) -> Tensor:
    """``value``, bit for bit, with the gradient rule ``dvalue/dx = slope``.

    Args:
        x: The tensor that receives the gradient.
        value: What the forward pass yields, of the shape of ``x``; gets no gradient.
        slope: The factor of the incoming gradient, of the shape of ``x``; 1 (straight-through,
            Bengio et al. 2013) where it is not given.
    """
    result: Tensor = _WithGradient.apply(x, value, slope)  # type: ignore[no-untyped-call]
    return result


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


def scale_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """``x``, with its gradient multiplied by ``factor``, a 0-dim tensor."""
    result: Tensor = _ScaleGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return result


def sign(x: Tensor) -> Tensor:
    """-1 or +1, with ``sign(0) = +1``: one bit has no third value."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def round_half_up(x: Tensor) -> Tensor:
    """The nearest integer, ties upwards, so that a 1-bit grid has ``sign(0) = +1``."""
    return torch.floor(x + 0.5)


def per_channel(values: Tensor, like: Tensor, axis: int = 0) -> Tensor:
    """``values [channels]`` in the shape that broadcasts along ``axis`` of ``like``."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return values.view(shape)


def absolute_mean(weight: Tensor) -> Tensor:
    """Mean of ``|w|`` of each output channel, ``[channels]``; at least 1e-8, so never a zero."""
    return weight.detach().abs().flatten(1).mean(1).clamp_min(1e-8)
