"""Latent and deployed weights in one unit: the line that maps levels onto latents."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LatentFit", "fit_latents"]


class LatentFit(NamedTuple):
    """How deployed weights ``W`` approximate latents ``theta``: ``theta ~ scale * W + offset``."""

    error: Tensor
    """The squared error of the fit over the squared deviation of the latents, 0-dim float64:
    1 - cos^2 of the centred latents and weights. Not a number for constant latents."""
    clipped_error: Tensor
    """The part of it in latents that lie beyond the outermost levels."""
    clipped_share: Tensor
    """The share of such latents."""


def fit_latents(theta: Tensor, deployed: Tensor, codebook: Tensor) -> LatentFit:
    """The best line of least squares, and what lies outside of the levels.

    Args:
        theta: Latent weights, ``[channels, …]``.
        deployed: Deployed weights of the same shape.
        codebook: Levels ``[levels]`` or ``[channels, levels]``.
    """
    latents, values = theta.detach().double().flatten(1), deployed.detach().double().flatten(1)
    x, y = values - values.mean(), latents - latents.mean()
    total = y.square().sum()
    scale = (x * y).sum() / x.square().sum()
    scale = torch.where(scale.isfinite(), scale, 0.0)  # constant weights explain nothing
    levels = scale * (codebook.detach().double().view(-1, codebook.shape[-1]) - values.mean())
    low, high = levels.amin(1, keepdim=True), levels.amax(1, keepdim=True)
    slack = 1e-6 * (high - low)  # a latent on the outermost level is inside, whatever the rounding
    outside = (y < low - slack) | (y > high + slack)
    squares = (y - scale * x).square()
    return LatentFit(
        error=squares.sum() / total,
        clipped_error=(squares * outside).sum() / total,
        clipped_share=torch.where(total > 0, outside.double().mean(), torch.nan),
    )
