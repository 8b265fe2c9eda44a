"""The levels of Quantization Networks, and where the thresholds between them start."""

import torch
from torch import Tensor

from qbench.quantizers.contract import Target

__all__ = ["DEAD_ZONE", "level_values", "start_thresholds"]

DEAD_ZONE = 0.05
"""Half the width of the zero level of weights at the start, in units of beta x."""

_THREE_BITS = {
    "plus_minus_4": (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0),
    "plus_minus_2": (-2.0, -1.0, 0.0, 1.0, 2.0),
}
_SAMPLE = 65_536
_ITERATIONS = 300


def level_values(target: Target, bit_width: int, level_set: str) -> tuple[float, ...]:
    """The levels in units of alpha, in rising order.

    Args:
        target: What is quantized.
        bit_width: 1 to 8.
        level_set: Of 3-bit weights: ``plus_minus_4``, ``plus_minus_2`` or ``uniform``.

    Returns:
        Activations ``0 … 2^k - 1``; weights -1, 1 at 1 bit, else symmetric around 0, with
        ``2^k - 1`` levels or fewer.
    """
    if target == "activation":
        return tuple(float(level) for level in range(2**bit_width))
    if bit_width == 1:
        return (-1.0, 1.0)
    if bit_width == 3 and level_set in _THREE_BITS:
        return _THREE_BITS[level_set]
    highest = 2 ** (bit_width - 1) - 1
    return tuple(float(level) for level in range(-highest, highest + 1))


def start_thresholds(scaled: Tensor, count: int, target: Target) -> Tensor:
    """The thresholds that a tensor starts with, and keeps.

    Args:
        scaled: ``beta x``, any shape, at least one element.
        count: How many thresholds, one less than the levels.
        target: Weights have a zero level from -0.05 to 0.05 where they have a zero level, and their
            threshold at 0 at 1 bit; all others lie midway between k-means centres.

    Returns:
        Float32 ``[count]`` on the CPU, strictly increasing.
    """
    if target == "weight" and count == 1:
        return torch.zeros(1)
    thresholds = _between_clusters(_sample(scaled), count + 1).float()
    return _with_dead_zone(thresholds) if target == "weight" else thresholds


def _sample(x: Tensor) -> Tensor:
    values = x.detach().flatten().double().cpu()
    if len(values) > _SAMPLE:
        generator = torch.Generator().manual_seed(0)
        values = values[torch.randint(len(values), (_SAMPLE,), generator=generator)]
    return values.sort().values


def _between_clusters(values: Tensor, clusters: int) -> Tensor:
    """Midpoints of neighbouring k-means centres of sorted ``values`` (Lloyd's iteration).

    A cluster without values keeps its centre, so centres stay apart and in order.
    """
    low, high = values[0], values[-1]
    cell = ((high - low) / clusters).clamp_min(1e-3)  # a constant tensor still gets its cells
    centres = low + (torch.arange(clusters, dtype=values.dtype) + 0.5) * cell
    sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
    for _ in range(_ITERATIONS):
        inner = torch.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        ends = torch.cat([inner.new_zeros(1), inner, inner.new_tensor([len(values)])])
        sizes, totals = ends.diff(), sums[ends].diff()
        moved = torch.where(sizes > 0, totals / sizes.clamp_min(1), centres)
        settled = bool((moved - centres).abs().max() <= 1e-7 * cell)
        centres = moved
        if settled:
            break
    return (centres[1:] + centres[:-1]) / 2


def _with_dead_zone(thresholds: Tensor) -> Tensor:
    """The inner pair at +-0.05; the others keep outside, in order, where weights are one-sided."""
    half = len(thresholds) // 2
    room = DEAD_ZONE * torch.arange(half)
    upper = (thresholds[half:] - room).clamp_min(DEAD_ZONE).cummax(0).values + room
    lower = (-thresholds[:half].flip(0) - room).clamp_min(DEAD_ZONE).cummax(0).values + room
    upper[0] = lower[0] = DEAD_ZONE
    return torch.cat([-lower.flip(0), upper])
