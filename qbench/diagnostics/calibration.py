"""How large a noise on latent weights is: the share of the deployed codes that it changes."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["changed_share", "gaussian", "sigma_for_share"]

_DRAWS = 32
_ENOUGH = 2**20  # drawn numbers; at a share of 1 % about 10,000 changes, so the share is 1 % sharp
_OCTAVES = (-16.0, 8.0)  # of sigma over the rms of the latent weights
_BISECTIONS = 16  # sigma to 0.03 %


def gaussian(random: np.random.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers drawn on the host, of the shape, device and format of ``like``."""
    drawn = random.standard_normal(tuple(like.shape), dtype=np.float32)
    return torch.empty_like(like).copy_(torch.from_numpy(drawn))


def changed_share(
    codes: Callable[[Tensor], Tensor], weight: Tensor, sigma: Tensor, noise: list[Tensor]
) -> Tensor:
    """The share of codes that ``sigma`` times the noise changes, mean over the draws, 0-dim.

    Args:
        codes: The codes of a latent weight, of its shape.
        weight: The latent weight.
        sigma: 0-dim.
        noise: Draws of the weight's shape.
    """
    before = codes(weight)
    after = (codes(weight + sigma.to(weight.dtype) * one) for one in noise)
    return torch.stack([(one != before).double().mean() for one in after]).mean()


@torch.no_grad()
def sigma_for_share(
    codes: Callable[[Tensor], Tensor],
    weight: Tensor,
    share: float,
    random: np.random.Generator,
) -> Tensor | None:
    """The scale of Gaussian noise on latent weights that changes so many codes on average.

    Bisection over at most 32 draws (fewer for large layers), without a loss. Only codes are
    compared, so the latent scale, the thresholds and the level values of a method do not matter.

    Args:
        codes: The deployed codes of a latent weight, such as ``lambda x: quantizer.codes(x)[0]``.
        weight: The latent weight, any shape.
        share: Which part of the codes is to change, in ``(0, 1)``.
        random: Of the draws; the same for networks that are to be compared.

    Returns:
        sigma, 0-dim float64 on the weight's device, in units of the weight; nothing where all
        latents are zero, or where no noise changes so many codes.
    """
    weight = weight.detach()
    draws = min(_DRAWS, max(1, _ENOUGH // weight.numel()))
    noise = [gaussian(random, weight) for _ in range(draws)]
    rms = weight.double().square().mean().sqrt()
    low, high = (torch.full_like(rms, octave) for octave in _OCTAVES)

    def enough(octave: Tensor) -> Tensor:
        return changed_share(codes, weight, rms * octave.exp2(), noise) >= share

    if not bool((rms > 0) & rms.isfinite() & enough(high)):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        reached = enough(middle)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return rms * high.exp2()
