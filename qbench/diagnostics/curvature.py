"""Curvature of the training loss at the quantized weights."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.registry import diagnostics

__all__ = ["curvature", "rademacher", "trace_samples"]

STEP = 1e-2
"""Of the difference of gradients, over the rms of the weights: float32 gradients differ by far more
than their rounding, and batch norm makes the loss blind to the length of a weight anyway."""


def rademacher(random: np.random.Generator, like: Tensor) -> Tensor:
    """Signs drawn on the host, of the shape, device and format of ``like``."""
    signs = random.integers(0, 2, tuple(like.shape), dtype=np.int8) * 2 - 1
    return torch.empty_like(like).copy_(torch.from_numpy(signs))


def trace_samples(
    product: Callable[[Tensor], Tensor], like: Tensor, random: np.random.Generator, vectors: int
) -> Tensor:
    """Hutchinson's estimates ``z . H z`` of the trace of H, ``[vectors]`` float64.

    z of signs; each has the variance ``2 (|H|_F^2 - sum H_ii^2)`` for a symmetric H.

    Args:
        product: ``H z`` for a ``z`` of the shape of ``like``.
        like: Gives shape, dtype and device.
        random: Of the signs.
        vectors: How many.
    """
    drawn = (rademacher(random, like) for _ in range(vectors))
    return torch.stack([(z.double() * product(z).double()).sum() for z in drawn])


@diagnostics.register("curvature", unit="loss/weight^2", tracked=())
def curvature(measurement: Measurement, *, vectors: int = 16) -> Iterator[Reading]:
    """Mean second derivative of the training loss with respect to a quantized weight.

    Formula: Tr(H) / d, H the Hessian of L with respect to W~; Hutchinson's estimate
    mean of z . H z over random signs z, with
    H z = (gamma(W~ + h z) - gamma(W~ - h z)) / 2h, gamma = dL/dW~ by backpropagation as in training
    and h = 0.01 rms(W~).

    Meaning: times a squared move of a weight, halved, it is what the move costs beyond the
    gradient's prediction; it tells apart layers that lose little from rounding, and it is the
    curvature in the gain of EWGS.

    Range: any; above 0 near a minimum. In units of the loss over the weight squared, so it is to be
    compared between layers only times the square of their level distance.

    Cost: 2 vectors = 32 forwards and backwards from the layer on, for each layer.

    Misleads: hard activations differentiate by a rule, so H is that of the rule, not of the loss; a
    quadratic says little of a move by a whole level at one or two bits.

    Source: Hutchinson, Commun. Stat. 1990; Lee et al., EWGS, CVPR 2021, arXiv:2104.00903; Dong et
    al., HAWQ-V2, NeurIPS 2020, arXiv:1911.03852.
    """
    probe = measurement.probe
    for name, _, _ in measurement.weights():
        weight = probe.trained[name]
        step = STEP * weight.double().square().mean().sqrt().to(weight.dtype)
        if not bool(step > 0):
            continue
        with probe.suffix(name, "training") as suffix:

            def product(
                z: Tensor,
                weight: Tensor = weight,
                step: Tensor = step,
                gradient: Callable[[Tensor], Tensor] = suffix.gradient,
            ) -> Tensor:
                return (gradient(weight + step * z) - gradient(weight - step * z)) / (2 * step)

            samples = trace_samples(product, weight, probe.random("curvature", name), vectors)
        samples = samples / weight.numel()
        yield Reading(name, "gradient/curvature", samples.mean())
        yield Reading(name, "gradient/curvature_se", samples.std() / vectors**0.5)
