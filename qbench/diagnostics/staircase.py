"""The staircase that an element-wise quantizer is: its thresholds and gaps, under noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qbench.quantizers.contract import decode

__all__ = ["Staircase", "find_staircase"]

_BISECTIONS = 12  # of the distance between two neighbouring latents
_SCALE_BISECTIONS = 16  # of sigma, over a factor of 2e8: to 0.03 %


@dataclass(frozen=True)
class Staircase:
    """A quantizer as a sum of steps, at one state of its statistics and scales."""

    weight: Tensor
    """The latents, float64."""
    place: Tensor
    """Which level each has, counted from the lowest value; of the weight's shape."""
    thresholds: Tensor
    """``[levels - 1]``, or ``[channels, levels - 1]``; infinite where no latent lies beyond."""
    gaps: Tensor
    """Distances of neighbouring level values, ``[levels - 1]`` or ``[channels, levels - 1]``."""

    def density(self, sigma: Tensor) -> Tensor:
        """D = sum_j gap_j N(theta - t_j; 0, sigma^2): the slope of the smoothed staircase."""
        rows = self.weight.flatten(1)
        thresholds, gaps = (_as_rows(part) for part in (self.thresholds, self.gaps))
        total = torch.zeros_like(rows)
        for threshold, gap in zip(thresholds.T, gaps.T, strict=True):
            distance = (rows - threshold[:, None]) / sigma
            total += gap[:, None] * torch.exp(-0.5 * distance.square())
        density: Tensor = total / (sigma * (2 * torch.pi) ** 0.5)
        return density.view(self.weight.shape)

    def sigma(self, share: float) -> Tensor | None:
        """The noise at which codes change with this probability, on average; 0-dim.

        Args:
            share: In ``(0, 1)``.

        Returns:
            Nothing where no noise does that.
        """
        edge = torch.full_like(self.thresholds[..., :1], torch.inf)
        edges = torch.cat([-edge, self.thresholds, edge], -1)
        down = self.weight - decode(self.place, edges)
        up = decode(self.place + 1, edges) - self.weight
        spread = self.weight.square().mean().sqrt()
        low, high = (spread * 1e-6).log(), (spread * 200).log()

        def enough(scale: Tensor) -> Tensor:
            beyond = torch.special.ndtr(-down / scale) + torch.special.ndtr(-up / scale)
            reached: Tensor = beyond.mean() >= share
            return reached

        if not bool((spread > 0) & enough(high.exp())):
            return None
        for _ in range(_SCALE_BISECTIONS):
            middle = (low + high) / 2
            reached = enough(middle.exp())
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
        return high.exp()


@torch.no_grad()
def find_staircase(
    quantize: Callable[[Tensor], tuple[Tensor, Tensor]], weight: Tensor
) -> Staircase | None:
    """Read the thresholds off the codes.

    Where codes change between neighbouring latents, the lower one is moved up until its code
    changes; the other latents, and so the tensor's statistics, stay.

    Args:
        quantize: Codes and level values of a weight.
        weight: The latents, ``[channels, ...]``.

    Returns:
        Nothing where the codes are not a rising function of the latents, of the tensor or of a
        channel, as where a method mixes weights.
    """
    weight = weight.detach().contiguous()
    codes, codebook = quantize(weight)
    ascending, order = codebook.sort(-1)
    rank = order.argsort(-1)
    place = decode(codes, rank)
    for rows in (1, weight.shape[0]):
        latents, places = weight.view(rows, -1), place.reshape(rows, -1)
        arranged, by_size = latents.sort(-1)
        if bool((places.gather(1, by_size).diff(dim=-1) >= 0).all()):
            break
    else:
        return None

    def places_of(moved: Tensor) -> Tensor:
        return decode(quantize(moved.view(weight.shape))[0], rank).reshape(rows, -1)

    bounds = torch.arange(codebook.shape[-1] - 1, device=weight.device) + 0.5
    sorted_places = places.gather(1, by_size).to(bounds.dtype)
    first = torch.searchsorted(sorted_places, bounds.expand(rows, -1).contiguous())
    found = _refine(places_of, latents, arranged, by_size, first)
    thresholds = found if rows > 1 else found[0]
    return Staircase(weight.double(), place, thresholds, ascending.double().diff(dim=-1))


def _refine(
    places_of: Callable[[Tensor], Tensor],
    latents: Tensor,
    arranged: Tensor,
    by_size: Tensor,
    first: Tensor,
) -> Tensor:
    """Thresholds ``[rows, levels - 1]``; ``first`` counts the sorted latents below each."""
    count = latents.shape[1]
    below, above = (first - 1).clamp_min(0), first.clamp_max(count - 1)
    movers = by_size.gather(1, below)
    low, high = arranged.gather(1, below), arranged.gather(1, above)
    start = places_of(latents).gather(1, movers)
    inside = (first > 0) & (first < count)
    for _ in range(_BISECTIONS):
        middle = torch.where(inside, (low + high) / 2, low)
        # One latent below two thresholds, of a level that no latent has, moves once for both.
        left = places_of(latents.scatter(1, movers, middle)).gather(1, movers) > start
        low, high = torch.where(left, low, middle), torch.where(left, middle, high)
    outside = torch.where(first > 0, torch.inf, -torch.inf).double()
    return torch.where(inside, (low.double() + high.double()) / 2, outside)


def _as_rows(values: Tensor) -> Tensor:
    return values if values.ndim == 2 else values[None]
