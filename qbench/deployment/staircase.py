"""A quantizer of activations as what it is once trained: thresholds, and a level between them.

The thresholds are found by halving the range of float32 numbers, so they are exact to the last bit
whatever the method computes: ``code = number of thresholds that are <= x``. A method that first
divides by what the whole input says is no staircase.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from qbench.quantizers.contract import Quantizer

__all__ = ["Staircase", "staircase"]

AXIS = 1  # of channels
FARTHEST = 2.0**20  # thresholds are looked for up to this multiple of the largest value
FLOATS = 33  # halvings until the range between two floats of either sign is empty
SIGN = -(2**31)


class Staircase(NamedTuple):
    """What an activation quantizer does to an element."""

    thresholds: Tensor
    """float32 ``[1, levels - 1]``, or ``[channels, levels - 1]``; the smallest input with code
    k + 1; rising, -inf or inf where a code is never taken."""
    codebook: Tensor
    """float32 ``[levels]`` or ``[channels, levels]``."""

    def codes(self, x: Tensor) -> Tensor:
        """The code of each element, int64, of the shape of ``x``."""
        rows = x.transpose(0, AXIS).flatten(1)
        table = self.thresholds.expand(len(rows), -1).contiguous()
        found = torch.searchsorted(table, rows.contiguous(), right=True)
        return found.view(x.transpose(0, AXIS).shape).transpose(0, AXIS)


@torch.no_grad()
def staircase(quantizer: Quantizer, x: Tensor) -> Staircase | None:
    """The thresholds and levels of a trained activation quantizer.

    Args:
        quantizer: In its final state.
        x: An input of its layer, ``[batch, channels, …]``, to look for thresholds around, and to
            check them with.

    Returns:
        Nothing where a code depends on more than its element and channel, or falls where x rises.
    """
    found_codes, codebook = quantizer.codes(x)
    count, channels = codebook.shape[-1], x.shape[AXIS]
    reach = FARTHEST * max(1.0, float(x.abs().max()), float(codebook.abs().max()))
    shape = (count - 1, channels, *[1] * (x.ndim - 2))
    wanted = torch.arange(1, count).view(-1, *[1] * (x.ndim - 1)).expand(shape)

    def reached(ordinals: Tensor) -> Tensor:
        return quantizer.codes(_float(ordinals))[0] >= wanted

    low = _ordinal(torch.full(shape, -reach))
    high = _ordinal(torch.full(shape, reach))
    always, never = reached(low), ~reached(high)
    for _ in range(FLOATS):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        there = reached(middle)
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    thresholds = _float(high).masked_fill(always, -torch.inf).masked_fill(never, torch.inf)
    rows = thresholds.flatten(1).t().contiguous()  # [channels, levels - 1]
    if bool((rows == rows[:1]).all()):
        rows = rows[:1]
    result = Staircase(rows, codebook.detach().clone())
    wide = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * 2 * x.abs().max()
    other_codes, other_codebook = quantizer.codes(wide)
    if not bool((rows[:, 1:] >= rows[:, :-1]).all()) or not torch.equal(codebook, other_codebook):
        return None
    same = torch.equal(result.codes(x), found_codes) and torch.equal(
        result.codes(wide), other_codes
    )
    return result if same else None


def _ordinal(x: Tensor) -> Tensor:
    """Place in the order of all float32 numbers; -0.0 stands before 0.0."""
    bits = x.view(torch.int32).long()
    return torch.where(bits < 0, SIGN - bits - 1, bits)


def _float(ordinals: Tensor) -> Tensor:
    bits = torch.where(ordinals < 0, SIGN - ordinals - 1, ordinals)
    return bits.to(torch.int32).view(torch.float32)
