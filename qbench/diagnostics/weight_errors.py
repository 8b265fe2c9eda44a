"""How far weights are from their deployed values: of the latent ones, and of those in training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.models.layers import quantized_layers
from qbench.registry import diagnostics

__all__ = ["discretization_error", "quantization_error"]


@diagnostics.register("quantization_error", unit="share of ||w||")
def quantization_error(measurement: Measurement) -> Iterator[Reading]:
    """Distance from latent to deployed weights, ||w - q|| / ||w||, per layer and as a mean.

    It has a meaning only where latents and levels share units; a method that rescales its latents
    (DoReFa's tanh map) shows a large value that says nothing about accuracy.
    """
    with torch.no_grad():
        for layer, latent, deployed, _ in _weights(measurement, training=False):
            yield Reading(layer, "quantization_error", _ratio(latent - deployed, latent))


@diagnostics.register("discretization_error", unit="share of ||q||")
def discretization_error(measurement: Measurement) -> Iterator[Reading]:
    """Distance from trained to deployed weights, ||v - q|| / ||q||, per layer and as a mean.

    It is 0 for a method whose training forward is hard; for a soft one it is what deployment
    changes.
    """
    with torch.no_grad():
        for layer, _, deployed, trained in _weights(measurement, training=True):
            yield Reading(layer, "discretization_error", _ratio(trained - deployed, deployed))


def _weights(
    measurement: Measurement, *, training: bool
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    for name, layer in quantized_layers(measurement.model).items():
        quantizer = layer.weight_quantizer
        if quantizer is not None:
            deployed = quantizer.deployed(layer.weight)
            yield name, layer.weight, deployed, quantizer(layer.weight) if training else deployed


def _ratio(difference: Tensor, reference: Tensor) -> Tensor:
    tiny = torch.finfo(reference.dtype).tiny
    ratio: Tensor = difference.norm() / reference.norm().clamp_min(tiny)
    return ratio
