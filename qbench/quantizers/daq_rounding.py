"""Distance-aware rounding on a grid 0 … R: hard with the controller's slope, or a soft arg-max.

``v = n - 1/2`` is the distance of a value ``n`` from the first transition; the transitions lie at
the integers of ``v``, and a tie goes down.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Grid", "Slope", "hard_rounding", "magnitude", "soft_rounding"]


class Grid(NamedTuple):
    """How a tensor lies on its grid, 0-dim tensors: ``v = x * slope + middle``."""

    slope: Tensor
    middle: Tensor
    width: Tensor
    """Of the clipping interval, or of its positive half where it is symmetrical."""
    zero: Tensor
    """The place of the value 0: ``value = (index - zero) * step``."""
    step: Tensor

    def nearest(self, x: Tensor, steps: int) -> Tensor:
        """The nearest of ``0 … steps``, ties down, as floats of the shape of ``x``."""
        return (x * self.slope).add_(self.middle).ceil_().clamp_(0, steps)

    def values(self, index: Tensor) -> Tensor:
        """The values at ``index``, which is overwritten."""
        return index.sub_(self.zero).mul_(self.step)


@dataclass(frozen=True)
class Slope:
    """G(t) = height * coth(t + offset), t in [0, 1/2] the distance to the next transition."""

    steps: int
    """R, the intervals between the levels."""
    height: float
    offset: float

    @classmethod
    def of(cls, steps: int, gamma: float, sigma: float) -> "Slope":
        """The slope that the controller yields with logits ``gamma`` apart, kernels ``sigma``."""
        # gamma / (2 sinh gamma), without an overflow for a large gamma
        height = gamma * math.exp(-gamma) / -math.expm1(-2 * gamma)
        return cls(steps, height, 1 / (2 * sigma**2))

    def weigh(self, gradient: Tensor, v: Tensor) -> Tensor:
        """``gradient * 1[0 <= n <= R] * G / height``, of the shape of ``v``; overwrites ``v``."""
        low, high = -0.5, self.steps - 0.5
        slack = 1e-6 * self.steps  # the rounding error of v: the ends count as inside
        # One kernel that compares and selects; a tensor of comparisons is slow on a CPU.
        inside = torch.ops.aten.hardtanh_backward(gradient, v, low - slack, high + slack)
        v.clamp_(low, high)
        distance = v.sub_(v.round()).abs_()
        power = distance.mul_(2).add_(2 * self.offset).exp_()
        # coth(z) = 1 + 2 / (exp(2z) - 1)
        return torch.addcdiv(inside, inside, power.sub_(1), value=2)


def magnitude(scale: Tensor) -> Tensor:
    """``|scale|``, at least 1e-8, so that the levels cannot collapse."""
    return scale.abs().clamp_min(1e-8)


class _HardRounding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, lower: Tensor | None, upper: Tensor, scale: Tensor, rule: Slope,
        *parts: Tensor,
    ) -> Tensor:  # fmt: skip
        grid = Grid(*parts)
        value = grid.values(grid.nearest(x, rule.steps))
        # The layer's convolution keeps the value anyway; without a learned scale it is not needed.
        kept = value if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(x, scale, kept, *parts)
        ctx.rule, ctx.two_ends = rule, lower is not None
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, value, *parts = ctx.saved_tensors
        grid, rule = Grid(*parts), ctx.rule
        weighed = rule.weigh(gradient, (x * grid.slope).add_(grid.middle))
        toward_x = weighed.mul_(grid.slope * grid.step * rule.height)
        moment = (toward_x * x).sum()
        toward_lower, toward_upper = None, -moment / grid.width
        if ctx.two_ends:
            share = toward_x.sum() / (grid.slope * grid.width)
            toward_upper = toward_upper - share * (grid.middle + 0.5)
            # Moving both ends and the value together changes nothing: the three sum to zero.
            toward_lower = -rule.steps * share - toward_upper
        toward_scale = None
        if value is not None:
            toward_scale = (gradient * value).sum() / magnitude(scale).copysign(scale)
        return toward_x, toward_lower, toward_upper, toward_scale, None, *(None for _ in parts)


def hard_rounding(
    x: Tensor, lower: Tensor | None, upper: Tensor, scale: Tensor, grid: Grid, rule: Slope
) -> Tensor:
    """The nearest level, bit for bit, with the gradients of the controlled soft arg-max.

    Args:
        x: Any shape; a gradient reaches it and the next three.
        lower: The interval's lower end; nothing where the interval follows ``upper`` alone.
        upper: The interval's upper end.
        scale: The output scale, whose magnitude is in ``grid.step``.
        grid: What these parameters make of ``x``, without a graph.
        rule: The slope.
    """
    value: Tensor = _HardRounding.apply(x, lower, upper, scale, rule, *grid)  # type: ignore[no-untyped-call]
    return value


def soft_rounding(x: Tensor, grid: Grid, steps: int, temperature: float, kernel: float) -> Tensor:
    """The soft arg-max over the two neighbouring levels, without a controller; plain autograd.

    Args:
        x: Any shape.
        grid: Its grid, with a graph to the parameters that made it.
        steps: R, the intervals between the levels.
        temperature: The factor of the scores; larger is closer to rounding.
        kernel: The weight of the farther level's score, 1 without a kernel.
    """
    n = (x * grid.slope + (grid.middle + 0.5)).clamp(0, steps)
    below = n.detach().floor().clamp_max(steps - 1)
    part = n - below
    upper_is_near = part.detach() > 0.5
    score_below = torch.exp(-part) * torch.where(upper_is_near, kernel, 1.0)
    score_above = torch.exp(part - 1) * torch.where(upper_is_near, 1.0, kernel)
    index = below + torch.sigmoid(temperature * (score_above - score_below))
    return (index - grid.zero) * grid.step
