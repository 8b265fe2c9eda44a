"""Rounding under logistic noise: which grid point comes out, and how likely each is."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["grid_logits", "relaxed_rounding"]


class _RelaxedRounding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, v: Tensor, spread: Tensor, mask: Tensor | None, lowest: Tensor, highest: Tensor,
        window: int, temperature: float, sampled: bool, hard: bool,
    ) -> Tensor:  # fmt: skip
        inside = (v >= lowest - 0.5) & (v <= highest + 0.5)
        v = torch.clamp(v, lowest - 0.5, highest + 0.5)
        points = _nearby(v, lowest, highest, window)
        upper, lower = (points + 0.5 - v) / spread, (v - points + 0.5) / spread
        logits = grid_logits(upper, lower, mask)
        if sampled:
            logits = logits - torch.empty_like(logits).exponential_().log()
        share = (logits / temperature).softmax(0)
        soft = (share * points).sum(0)
        weight = share.mul_(points - soft).div_(temperature)  # d soft / d logits
        past, short = torch.sigmoid(-upper), torch.sigmoid(-lower)
        slope = (weight * (short - past)).sum(0) / spread * inside
        spread_slope = -(weight * (upper * past + lower * short)).sum(0) / spread
        ctx.save_for_backward(slope, spread_slope, *(() if mask is None else (mask, weight)))
        if not hard:
            return soft
        if mask is None and not sampled:  # the most likely point is the nearest
            return torch.clamp(v.round(), lowest, highest)
        return points.gather(0, logits.argmax(0, keepdim=True)).squeeze(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        slope, spread_slope, *masked = ctx.saved_tensors
        mask_gradient = None
        if masked:
            mask, weight = masked
            total = (gradient * weight).flatten(1).sum(1)
            mask_gradient = torch.where(mask > 0, total / mask.clamp_min(1e-8), 0.0)
        spread_gradient = (gradient * spread_slope).sum()
        return gradient * slope, spread_gradient, mask_gradient, *(None,) * 6


def relaxed_rounding(
    v: Tensor, spread: Tensor, mask: Tensor | None = None, *, lowest: Tensor, highest: Tensor,
    window: int, temperature: float = 1.0, sampled: bool = False, hard: bool = False,
) -> Tensor:  # fmt: skip
    """``sum_i z_i i`` over grid points i around each value; differentiable in the first three.

    ``z = softmax((log p + noise) / temperature)``, p_i the probability that ``v`` plus logistic
    noise lies in the cell of i, given that it lies in one of those considered. The slope is
    computed beside the value, so that two tensors like ``v`` are kept whatever the window.

    Args:
        v: Values in units of the step, any shape; beyond the cells they count as at the border.
        spread: The scale of the noise in these units, 0-dim, above 0.
        mask: A factor from 0 to 1 of each p_i, ``[window]``; needs the whole grid as window.
        lowest: The lowest grid point, 0-dim.
        highest: The highest.
        window: How many points are considered, those around v; at most all.
        temperature: Of the softmax.
        sampled: Add Gumbel noise, so that z is a sample of the concrete distribution.
        hard: The value is the point with the largest z, the slope stays that of the sum.
    """
    result: Tensor = _RelaxedRounding.apply(  # type: ignore[no-untyped-call]
        v, spread, mask, lowest, highest, window, temperature, sampled, hard
    )
    return result


def _nearby(v: Tensor, lowest: Tensor, highest: Tensor, window: int) -> Tensor:
    """The grid points around each value, ``[window, …]``."""
    first = torch.clamp(v.round() - window // 2, lowest, highest - (window - 1))
    steps = torch.arange(window, dtype=v.dtype, device=v.device)
    return first + steps.view(-1, *[1] * v.ndim)


def grid_logits(upper: Tensor, lower: Tensor, mask: Tensor | None = None) -> Tensor:
    """Log-probabilities of cells, up to one constant.

    ``F(u) - F(-l) = F(u) F(l) (1 - exp(-(u + l)))``, F the logistic function, and all cells are
    equally wide: so the last factor is the same for all, and nothing saturates far outside.

    Args:
        upper: Distance from the value to the cell's upper end over the spread, ``[points, …]``.
        lower: Distance from the cell's lower end.
        mask: Factors of the probabilities, ``[points]``; 0 takes a point out.
    """
    logits = logsigmoid(upper) + logsigmoid(lower)
    return logits if mask is None else logits + mask.log().view(-1, *[1] * (logits.ndim - 1))
