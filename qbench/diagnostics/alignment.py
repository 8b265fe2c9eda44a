"""How a gradient lies to that of a smoothed loss, without estimating the smoothed gradient itself.

``F_sigma(theta) = E F(theta + sigma u)``, u standard normal, has a gradient b. The cosine of a
noisy estimate of b is too small by orders of magnitude in many dimensions. So the part of b along
the given gradient and the squared length of what is across it are estimated apart, each without
bias and with errors that do not grow with the dimension.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qbench.diagnostics.calibration import gaussian

__all__ = ["Alignment", "LossFunction", "across", "align", "along"]

LossFunction = Callable[[Tensor], Tensor]
"""F: the loss, 0-dim float64, of a tensor; up to a constant."""

REACH = 0.1
"""Root mean square step along the gradient over sigma: short enough that the curvature adds less
than the errors, long enough that many coordinates move."""
WIDER = 1.1
"""Intervals of the delta rule hold 91 to 96 % instead of 95 %; so its errors are widened."""


class Alignment(NamedTuple):
    """All 0-dim float64, with standard errors."""

    cosine: Tensor
    """<g, b> / (|g| |b|), in [-1, 1]."""
    cosine_se: Tensor
    """At most 1, which says that nothing is known."""
    gain: Tensor
    """<g, b> / |g|^2."""
    gain_se: Tensor


def along(
    loss: LossFunction,
    at: Tensor,
    gradient: Tensor,
    sigma: Tensor,
    random: np.random.Generator,
    dithers: int,
) -> Tensor:
    """Samples of ``e . b`` with e = g / |g|, one for each dither v, ``[dithers]`` float64.

    ``(F(x + sigma v + h e) - F(x + sigma v - h e)) / 2h``,  h = sigma sqrt(d) / 10.

    Args:
        loss: F.
        at: x, any shape.
        gradient: g, of that shape, not zero.
        sigma: 0-dim, above 0.
        random: Of the dithers.
        dithers: How many; two forwards each.
    """
    reach = REACH * sigma.double() * at.numel() ** 0.5
    step = (reach / _length(gradient) * gradient).to(at.dtype)
    quotients = [
        _quotient(loss, at + sigma.to(at.dtype) * dither, step, reach)
        for dither in _draws(random, at, dithers)
    ]
    return torch.stack(quotients)


def across(
    loss: LossFunction,
    at: Tensor,
    gradient: Tensor,
    sigma: Tensor,
    random: np.random.Generator,
    pairs: int,
) -> Tensor:
    """Difference quotients along directions across the gradient, two for each, ``[pairs, 2]``.

    For a direction u with its part along e removed, and two dithers v:
    ``(F(x + h v + h u) - F(x + h v - h u)) / 2h``,  h = sigma / sqrt 2. Their errors are
    independent, so the mean product of the two is the squared length of b across g; the mean square
    has their variance on top.

    Args:
        loss: F.
        at: x, any shape.
        gradient: g, of that shape, not zero.
        sigma: 0-dim, above 0.
        random: Of directions and dithers.
        pairs: How many directions; four forwards each.
    """
    half = sigma.double() * 0.5**0.5
    unit = (gradient / _length(gradient)).to(at.dtype)
    scale = half.to(at.dtype)
    found = []
    for direction in _draws(random, at, pairs):
        step = scale * (direction - (direction * unit).sum() * unit)
        dithered = (at + scale * dither for dither in _draws(random, at, 2))
        found.append(torch.stack([_quotient(loss, one, step, half) for one in dithered]))
    return torch.stack(found)


def align(gradient: Tensor, parallel: Tensor, squares: Tensor) -> Alignment | None:
    """Cosine and gain from the samples; errors by the delta rule from the samples' spread.

    ``N = mean(parallel)``, ``P = mean(squares)``, ``cosine = N / sqrt(N^2 + max(P, 0))``,
    ``SE^2 = (P^2 Var(N) + N^2 Var(P) / 4) / (N^2 + P)^3``, ``gain = N / |g|``.

    Args:
        gradient: g.
        parallel: From :func:`along`, at least two.
        squares: Samples of the squared length of b across g, at least two; without bias they are
            the products of the two quotients of :func:`across`.

    Returns:
        Nothing where the loss never changed.
    """
    n, p = parallel.mean(), squares.mean().clamp_min(0.0)
    total = n.square() + p
    if not bool((total > 0) & total.isfinite()):
        return None
    n_variance, p_variance = parallel.var() / len(parallel), squares.var() / len(squares)
    variance = (p.square() * n_variance + n.square() * p_variance / 4) / total**3
    length = _length(gradient)
    return Alignment(
        cosine=n / total.sqrt(),
        cosine_se=(WIDER * variance.sqrt()).clamp_max(1.0),
        gain=n / length,
        gain_se=WIDER * n_variance.sqrt() / length,
    )


def _quotient(loss: LossFunction, at: Tensor, step: Tensor, length: Tensor) -> Tensor:
    return (loss(at + step) - loss(at - step)) / (2 * length)


def _draws(random: np.random.Generator, like: Tensor, count: int) -> Iterator[Tensor]:
    return (gaussian(random, like) for _ in range(count))


def _length(x: Tensor) -> Tensor:
    return x.double().square().sum().sqrt()
