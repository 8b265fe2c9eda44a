"""A staircase of sigmoids with its gradient: the training forward of Quantization Networks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["in_memory", "neglected", "nearest_needed", "soft_steps"]

_BINS = 16
"""Bins a level of the table that finds a value's nearest thresholds."""
_TOLERANCE = 1e-3
"""What the thresholds left out may change, in steps between levels."""
_MOST = 16
"""The most thresholds evaluated for a value where some are left out: bounds the cost."""


class _SoftSteps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor, thresholds: Tensor, temperature: Tensor,
        steps: Sequence[float], lowest: float, nearest: int | None, unit_slope: bool,
        scale: float, needs_slope: bool,
    ) -> Tensor:  # fmt: skip
        v, t = x * (temperature * beta), temperature * thresholds
        if nearest is None:
            total, slope = _all_steps(v, t, steps, needs_slope and not unit_slope)
        else:
            total, slope = _nearest_steps(v, t, nearest, needs_slope)
        if unit_slope and needs_slope:
            _, slope = _all_steps(x * beta, thresholds, steps, True)
        y = total.add_(lowest).mul_(alpha)
        if slope is not None:
            ctx.scale = scale
            ctx.save_for_backward(x, y, slope, alpha, beta, temperature)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, slope, alpha, beta, temperature = ctx.saved_tensors
        factor = alpha * temperature
        rest = gradient * slope
        beta_gradient = (rest * x).sum() * (factor * ctx.scale)
        unit = (gradient * y).sum() / torch.where(alpha == 0, 1.0, alpha)
        return rest.mul_(factor * beta), unit * ctx.scale, beta_gradient, *(None,) * 8


def soft_steps(
    x: Tensor, alpha: Tensor, beta: Tensor, thresholds: Tensor, temperature: Tensor, *,
    steps: Sequence[float], lowest: float, nearest: int | None = None, unit_slope: bool = False,
    scale: float = 1.0,
) -> Tensor:  # fmt: skip
    """``alpha (lowest + sum_i s_i sigmoid(T (beta x - b_i)))``, differentiable in its first three.

    The forward keeps the slope for the backward, so that each sigmoid is computed once; ``x`` and
    the result are kept by their neighbours in the network anyway.

    Args:
        x: Any shape.
        alpha: 0-dim.
        beta: 0-dim.
        thresholds: ``b [n]``, in rising order; they get no gradient.
        temperature: ``T``, 0-dim.
        steps: ``s``, n numbers.
        lowest: The lowest level.
        nearest: Evaluate only so many thresholds for each value, the nearest; those below count as
            passed, those above as not. Needs steps of 1; see :func:`neglected`.
        unit_slope: In the backward, take the sigmoids' derivatives at temperature 1, times T.
        scale: A factor of the gradients of alpha and beta.
    """
    result: Tensor = _SoftSteps.apply(  # type: ignore[no-untyped-call]
        x, alpha, beta, thresholds, temperature, steps, lowest, nearest, unit_slope, scale,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return result


def in_memory(dense: Tensor) -> Tensor:
    """The elements ``[n]`` in the order of memory, of a tensor without gaps such as a product."""
    return dense.as_strided((dense.numel(),), (1,))


def neglected(temperature: float, thresholds: Tensor, nearest: int) -> float:
    """A bound on what the thresholds left out change, in steps, for any value.

    A value is at most half a bin further out than ``b_a``, the threshold beside the middle of its
    bin, and ``b_j`` is left out only if ``|a - j| >= nearest / 2``. So its sigmoid is off by at
    most ``sigmoid(-T (|b_a - b_j| - half a bin))``. What is left out below has the opposite sign of
    what is left out above: the larger of the two sums bounds the error.

    Args:
        temperature: ``T``.
        thresholds: ``[n]`` on the CPU, in rising order.
        nearest: How many thresholds are evaluated for each value, an even number.
    """
    b = thresholds.double()
    half_bin = (b[-1] - b[0]) / (2 * _BINS * (len(b) + 1))
    off = torch.sigmoid(-temperature * (b[:, None] - b - half_bin)).tril(-(nearest // 2))
    return float(torch.maximum(off.sum(0), off.sum(1)).max())


@lru_cache(maxsize=256)
def nearest_needed(temperature: float, thresholds: tuple[float, ...]) -> int | None:
    """How many thresholds are enough for an error below a thousandth of a step; ``None`` for all.

    Never more than 16, whatever the error: where that many are not enough, the sigmoids are so wide
    that single steps cannot be told apart.
    """
    b = torch.tensor(thresholds)
    enough = (m for m in range(2, _MOST, 2) if neglected(temperature, b, m) <= _TOLERANCE)
    found = next(enough, _MOST) if len(b) > 4 else _MOST
    return found if 2 * found < len(b) else None  # the table costs as much as a few


def _all_steps(
    v: Tensor, t: Tensor, steps: Sequence[float], needs_slope: bool
) -> tuple[Tensor, Tensor | None]:
    total = torch.zeros_like(v)
    slope = torch.zeros_like(v) if needs_slope else None
    for threshold, step in zip(t.unbind(), steps, strict=True):
        passed = (v - threshold).sigmoid_()
        total.add_(passed, alpha=step)
        if slope is not None:  # summed term by term, which keeps each at 0 or more
            slope.add_(passed.addcmul(passed, passed, value=-1), alpha=step)
    return total, slope


def _nearest_steps(
    v: Tensor, t: Tensor, nearest: int, needs_slope: bool
) -> tuple[Tensor, Tensor | None]:
    bins = _BINS * (len(t) + 1)
    width = ((t[-1] - t[0]) / bins).clamp_min(1e-30)
    middles = t[0] + width * (torch.arange(bins, dtype=t.dtype, device=t.device) + 0.5)
    first = (torch.bucketize(middles, t) - nearest // 2).clamp(0, len(t) - nearest)
    flat = in_memory(v)
    bin_of = (flat - t[0]).div_(width).clamp_(0, bins - 1).to(torch.int32).clamp_min_(0)  # NaN: 0
    total = first.to(v.dtype).index_select(0, bin_of)
    slope = torch.zeros_like(total) if needs_slope else None
    for k in range(nearest):
        threshold = t.index_select(0, first + k).index_select(0, bin_of)
        passed = torch.sub(flat, threshold, out=threshold).sigmoid_()
        total += passed
        if slope is not None:
            slope += passed.addcmul(passed, passed, value=-1)
    shape, stride = v.shape, v.stride()
    return total.as_strided(shape, stride), (
        None if slope is None else slope.as_strided(shape, stride)
    )
