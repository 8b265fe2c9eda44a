"""Levels that are sums of signed sizes, fitted greedily, and the two of them around each weight."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Cells", "cells", "residual_levels"]


def residual_levels(weight: Tensor, bits: int) -> Tensor:
    """The levels ``+-v_1 +- … +-v_k`` of each output channel, in rising order (LSBQ, greedy).

    ``v_1 = mean|w|`` is the least-squares size of ``sign(w)``; each further one is that of what the
    ones before leave over, ``r <- r - v sign(r)``.

    Args:
        weight: ``[channels, …]``.
        bits: k.

    Returns:
        ``[channels, 2^k]``, constants.
    """
    rest = weight.detach().flatten(1)
    levels = torch.zeros_like(rest[:, :1])
    for _ in range(bits):
        size = rest.abs().mean(1, keepdim=True)
        levels = torch.cat([levels - size, levels + size], 1)
        rest = rest - torch.where(rest >= 0, size, -size)
    return levels.sort(1).values


class Cells(NamedTuple):
    """Where each weight lies among its channel's levels; tensors of the weight's shape."""

    lower: Tensor
    """The place of the lower of the two levels around it; beyond the outermost level, the
    outermost two count."""
    low: Tensor
    high: Tensor

    @property
    def middle(self) -> Tensor:
        """The threshold between the two."""
        return (self.low + self.high) / 2

    def above(self, weight: Tensor) -> Tensor:
        """Whether the upper of the two is the nearer; a weight at the threshold goes up."""
        return weight >= self.middle

    def nearest(self, weight: Tensor) -> Tensor:
        """The nearer of the two."""
        return torch.where(self.above(weight), self.high, self.low)


def cells(weight: Tensor, levels: Tensor) -> Cells:
    """Find each weight of ``[channels, …]`` among ``levels [channels, L]`` in rising order."""
    rows = weight.detach().flatten(1)
    index = torch.searchsorted(levels, rows, right=True).sub(1).clamp(0, levels.shape[1] - 2)
    low, high = levels.gather(1, index), levels.gather(1, index + 1)
    return Cells(*(part.view(weight.shape) for part in (index, low, high)))
