"""A staircase of sigmoids with its gradient: the training forward of Quantization Networks."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["neglected", "nearest_needed", "soft_steps"]

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
        needs_slope: bool,
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
            ctx.save_for_backward(x, y, slope, alpha, beta, temperature)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, slope, alpha, beta, temperature = ctx.saved_tensors
        factor = alpha * temperature
        rest = gradient * slope
        beta_gradient = (rest * x).sum() * factor
        alpha_gradient = (gradient * y).sum() / torch.where(alpha == 0, 1.0, alpha)
        return rest.mul_(factor * beta), alpha_gradient, beta_gradient, *(None,) * 7


def soft_steps(
    x: Tensor, alpha: Tensor, beta: Tensor, thresholds: Tensor, temperature: Tensor, *,
    steps: Sequence[float], lowest: float, nearest: int | None = None, unit_slope: bool = False,
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
    """
    result: Tensor = _SoftSteps.apply(  # type: ignore[no-untyped-call]
        x, alpha, beta, thresholds, temperature, steps, lowest, nearest, unit_slope,
        torch.is_grad_enabled(),
    )  # fmt: skip
    return result


def neglected(temperature: float, thresholds: Sequence[float], nearest: int) -> float:
    """A bound on what the thresholds left out change, in steps, for any value.

    A threshold left out has ``nearest / 2`` others between it and the middle of the value's bin. So
    with the smallest spacing ``D`` and bins of width ``h``, the j-th one left out on a side is at
    least ``(nearest / 2 + j) D - h / 2`` away, and its sigmoid is off by less than the exponential
    of ``-T`` times that. The two sides have opposite signs, so the sum of one side bounds both.
    """
    spacing = min(b - a for a, b in zip(thresholds, thresholds[1:], strict=False))
    half_bin = (thresholds[-1] - thresholds[0]) / (_BINS * (len(thresholds) + 1)) / 2
    if temperature * spacing < 1e-9:
        return math.inf
    first = math.exp(min(-temperature * (nearest / 2 * spacing - half_bin), 700.0))
    return first / -math.expm1(-temperature * spacing)


def nearest_needed(temperature: float, thresholds: Sequence[float]) -> int | None:
    """How many thresholds are enough for an error below a thousandth of a step; ``None`` for all.

    Never more than 16, whatever the error: where that many are not enough, a step between levels is
    hardly visible in a sigmoid so wide.
    """
    if len(thresholds) <= 4:
        return None
    enough = (m for m in range(2, _MOST, 2) if neglected(temperature, thresholds, m) <= _TOLERANCE)
    found = next(enough, _MOST)
    return found if 2 * found < len(thresholds) else None  # the table costs as much as a few


def _all_steps(
    v: Tensor, t: Tensor, steps: Sequence[float], needs_slope: bool
) -> tuple[Tensor, Tensor | None]:
    total: Tensor | None = None
    slope: Tensor | None = None
    for threshold, step in zip(t.unbind(), steps, strict=True):
        passed = (v - threshold).sigmoid_()
        if needs_slope:
            # Not 1 - passed times passed over the sums: each term is exact, and never negative.
            own = torch.addcmul(passed, passed, passed, value=-1)
            slope = own.mul_(step) if slope is None else slope.add_(own, alpha=step)
        total = passed.mul_(step) if total is None else total.add_(passed, alpha=step)
    assert total is not None  # there is at least one threshold
    return total, slope


def _nearest_steps(
    v: Tensor, t: Tensor, nearest: int, needs_slope: bool
) -> tuple[Tensor, Tensor | None]:
    bins = _BINS * (len(t) + 1)
    width = ((t[-1] - t[0]) / bins).clamp_min(1e-30)
    middles = t[0] + width * (torch.arange(bins, dtype=t.dtype, device=t.device) + 0.5)
    first = (torch.bucketize(middles, t) - nearest // 2).clamp(0, len(t) - nearest)
    flat = v.as_strided((v.numel(),), (1,))  # in the order of memory: a product is dense
    bin_of = (flat - t[0]).div_(width).clamp_(0, bins - 1).to(torch.int32).clamp_min_(0)  # NaN: 0
    total = first.to(v.dtype).index_select(0, bin_of)
    slope = torch.zeros_like(total) if needs_slope else None
    for k in range(nearest):
        threshold = t.index_select(0, first + k).index_select(0, bin_of)
        passed = torch.sub(flat, threshold, out=threshold).sigmoid_()
        total += passed
        if slope is not None:
            slope += torch.addcmul(passed, passed, passed, value=-1)
    shape, stride = v.shape, v.stride()
    return total.as_strided(shape, stride), (
        None if slope is None else slope.as_strided(shape, stride)
    )
