"""G0: is the backward the gradient of the very forward that training computes?"""

from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import Tensor

from qbench.diagnostics.alignment import Alignment, across, align, along
from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.probe import Probe
from qbench.quantizers.contract import Quantizer
from qbench.registry import diagnostics

__all__ = ["self_consistency"]

SIGMA = 1e-3
"""Of the noise, over the rms of the latent weights: small, yet far above float32's rounding."""


@diagnostics.register("self_consistency", unit="1", tracked=("gradient/self_consistency",))
def self_consistency(
    measurement: Measurement, *, dithers: int = 4, pairs: int = 16
) -> Iterator[Reading]:
    """Cosine and gain of the latent gradient with differences of the training loss itself.

    Formula: N / sqrt(N^2 + S), gain = N / |g|, with N as in ``smoothed_alignment`` and S the mean
    square of the differences across g, of F(theta) = L(W~(theta)), W~ the training forward, all
    other layers in their training forward too, and sigma = 0.001 rms(theta). S is P plus the
    scatter, of which a smooth F has none: so a forward with steps in it cannot pass for exact.

    Meaning: 1 and gain 1 say that the backward is exact for the soft forward; less says that it is
    replaced by a rule, or that something that depends on theta is held constant in it. With the
    train-deploy gap this tells what class a quantizer is in.

    Range: [-1, 1]; an exact backward has 0.9999 and a gain within 0.001 of 1 in a shallow network
    and down to 0.996 in the early layers of a deep one, because of the kinks of ReLUs; it counts as
    exact from 0.99 and a gain within 0.05 of 1. Not defined, and not yielded, for a network that
    trains with its deployed weights and activations bit for bit (a step has no slope), for methods
    that draw random numbers, and where the gradient is zero.

    Cost: 2 dithers + 4 pairs = 72 forwards from the layer on, for each layer; an exact backward has
    no scatter, so few directions do.

    Misleads: later hard activations are steps too, whose backward is a rule, and lower the value of
    a layer with an exact weight quantizer; a layer with a hard weight among soft activations has a
    value near 0 and a gain of any size.

    Source: this project's.
    """
    probe = measurement.probe
    parts = [part for layer in probe.layers.values() for part in layer.children()]
    if any(isinstance(part, Quantizer) and part.stochastic for part in parts):
        return
    if _hard(probe):
        return
    for name, _, quantizer in measurement.weights():
        found = _consistency(probe, name, quantizer, dithers, pairs)
        if found is None:
            continue
        yield Reading(name, "gradient/self_consistency", found.cosine)
        yield Reading(name, "gradient/self_consistency_se", found.cosine_se)
        yield Reading(name, "gradient/self_consistency_gain", found.gain)
        yield Reading(name, "gradient/self_consistency_gain_se", found.gain_se)


def _hard(probe: Probe) -> bool:
    """Whether all weights and activations of the training forward are as deployed, bit for bit."""
    if not all(torch.equal(probe.trained[name], probe.deployed[name]) for name in probe.trained):
        return False
    equal: list[bool] = []

    def compare(quantizer: Quantizer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        equal.append(torch.equal(output, quantizer.deployed(inputs[0])))

    with ExitStack() as stack:
        for layer in probe.layers.values():
            if layer.activation_quantizer is not None:
                hook = layer.activation_quantizer.register_forward_hook(compare)
                stack.callback(hook.remove)
        probe.losses("training")
    return all(equal)


def _consistency(
    probe: Probe, name: str, quantizer: Quantizer, dithers: int, pairs: int
) -> Alignment | None:
    weight, gradient = probe.layers[name].weight.detach(), probe.gradients[name].latent
    sigma = SIGMA * weight.double().square().mean().sqrt()
    if not bool((sigma > 0) & gradient.any()):
        return None
    with probe.suffix(name, "training") as suffix:

        def loss(latent: Tensor) -> Tensor:
            value: Tensor = quantizer(latent)
            return suffix.loss(value)

        dither, pair = probe.random("dithers", name), probe.random("pairs", name)
        parallel = along(loss, weight, gradient, sigma, dither, dithers)
        perpendicular = across(loss, weight, gradient, sigma, pair, pairs)
    # Squares and not products: a forward with steps scatters so much that few products may well
    # have a mean of 0, which would pass for an exact backward.
    return align(gradient, parallel, perpendicular.square().mean(-1))
