"""Where LSQ+ starts: the weights' step from their spread, step and offset of inputs by a fit."""

import torch
from torch import Tensor

__all__ = ["step_and_offset", "step_for_spread"]

_ITERATIONS = 30
"""The error of two to eight bits falls by less than a hundredth after so many."""
_SAMPLE = 65_536
_LEAST = 1e-8


def step_for_spread(weight: Tensor, bit_width: int) -> Tensor:
    """``max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(k-1)``, 0-dim, at least 1e-8."""
    reach = weight.mean().abs() + 3 * weight.std(correction=0)
    return torch.clamp_min(reach * 2.0 ** (1 - bit_width), _LEAST)


def step_and_offset(x: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Step and offset of small squared error, both 0-dim, by descent in turns.

    The grid starts as wide as the values. Then, in turns, each value takes its nearest level, and
    step and offset are the linear regression of the values on the levels' numbers.

    Args:
        x: Any shape; a sample is used.
        highest: The number of the highest level, 0-dim; the lowest is 0.
    """
    sample = x.flatten()[:: max(1, x.numel() // _SAMPLE)]
    offset = x.min()
    step = ((x.max() - offset) / highest).clamp_min(_LEAST)
    for _ in range(_ITERATIONS):
        index = ((sample - offset) / step).round().clamp(torch.zeros_like(highest), highest)
        centred = index - index.mean()
        fitted = (centred * sample).sum() / centred.square().sum().clamp_min(1.0)
        step = torch.where(fitted > _LEAST, fitted, step)
        offset = sample.mean() - step * index.mean()
    return step, offset
