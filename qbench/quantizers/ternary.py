"""Three levels around two thresholds at equal distances from zero."""

import torch
from torch import Tensor

__all__ = ["mean_of", "ternary_codes"]


def ternary_codes(weight: Tensor, threshold: Tensor) -> Tensor:
    """0 below ``-threshold``, 2 above ``threshold``, else 1; int64, of the weight's shape."""
    return (weight > threshold).long() + (weight >= -threshold).long()


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen values of each row, ``[rows, n]`` to ``[rows, 1]``; 0 of none."""
    total = torch.where(chosen, values, 0.0).sum(1, keepdim=True)
    return total / chosen.sum(1, keepdim=True).clamp_min(1)
