"""Random masks on the outer points of a symmetric grid, a bit at a time, with trained odds."""

import math

import torch
from torch import Tensor, nn

__all__ = ["BitMask"]

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Temperature and stretch of the hard concrete distribution (Louizos et al., ICLR 2018)."""
START = 2.0
"""The logit at the start: a bit is dropped in 3 of 100 steps, and weakened in 37."""


class BitMask(nn.Module):
    """A hard concrete mask for each bit of a grid beyond the second; inner ones hold outer ones.

    With r bits the grid is -(2^(r-1) - 1) .. 2^(r-1) - 1. Ring r is what r bits have more than
    r - 1; its mask is the product of the masks of the rings 3 .. r, so that no bit is kept outside
    of one that is dropped.
    """

    ring: Tensor

    def __init__(self, bit_width: int) -> None:
        """Make the masks of a grid of 3 bits or more."""
        super().__init__()
        self.logits = nn.Parameter(torch.full((bit_width - 2,), START))
        most = 2 ** (bit_width - 1) - 1
        rings = [max(abs(point).bit_length() - 1, 0) for point in range(-most, most + 1)]
        self.register_buffer("ring", torch.tensor(rings), persistent=False)

    @torch.no_grad()
    def reset(self) -> None:
        """Back to the start."""
        self.logits.fill_(START)

    def drawn(self) -> Tensor:
        """A sample: the factor of each grid point, ``[points]``, 1 of the inner three."""
        uniform = torch.rand_like(self.logits).clamp(1e-6, 1 - 1e-6)
        noise = uniform.log() - torch.log1p(-uniform)
        return self._points(_stretched(torch.sigmoid((noise + self.logits) / BETA)))

    def _points(self, masks: Tensor) -> Tensor:
        kept = torch.cat([torch.ones_like(masks[:1]), masks.cumprod(0)])
        return kept.index_select(0, self.ring)

    def highest_kept(self) -> Tensor:
        """The outermost grid point whose mean mask is above 0, 0-dim."""
        masks = _stretched(torch.sigmoid(self.logits.detach()))
        kept = (masks > 0).to(masks.dtype).cumprod(0)
        sizes = 2.0 ** torch.arange(1, len(kept) + 1, dtype=kept.dtype, device=kept.device)
        return 1 + (kept * sizes).sum()

    def expected(self) -> Tensor:
        """The expected number of rings that are kept, of those that can be dropped, 0-dim."""
        odds = torch.sigmoid(self.logits - BETA * math.log(-LOW / HIGH))
        return odds.cumprod(0).sum()


def _stretched(share: Tensor) -> Tensor:
    return (share * (HIGH - LOW) + LOW).clamp(0.0, 1.0)
