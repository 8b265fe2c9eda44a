"""How large the gradient is, of the latents and of the weights that training computes with."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.registry import diagnostics

__all__ = ["gradient_norm"]


@diagnostics.register(
    "gradient_norm", unit="loss per unit of weight", tracked=("gradient/latent_norm",)
)
def gradient_norm(measurement: Measurement) -> Iterator[Reading]:
    """Size of the gradient of the latents, and of that before the quantizer's backward.

    Formula: ``latent_norm``: ||g||, g what the method takes for dL/dtheta; ``weight_norm``:
    ||gamma||, gamma = dL/dW~; 2-norms of each layer, of the mean loss of the diagnostic batch. Of
    the network: the square root of the sum of the squares over the measured layers.

    Meaning: ||g|| that falls over training while ||gamma|| stands is a gradient that vanishes in
    the quantizer's backward, as where a soft forward gets steep or latents leave the range that
    has a gradient. ||g|| above ||gamma|| is one that the backward magnifies.

    Range: from 0.

    Cost: one forward and backward for all layers together, which other diagnostics of the
    gradient share.

    Misleads: ||g|| has the unit of one over the latents', so methods whose latents differ in scale
    do not compare, only one method over time; before a batch norm it falls as the weights grow.
    Adam ignores the size. Both fall as the loss does. A network's value of other layers, or of
    fewer, is another one.

    Source: this project's.
    """
    gradients = measurement.probe.gradients
    measured = [name for name in measurement.layers if name in gradients]
    if not measured:
        return
    for reading, of in (("latent", "latent"), ("weight", "at_used")):
        norms = torch.stack([
            torch.linalg.vector_norm(getattr(gradients[name], of), dtype=torch.float64)
            for name in measured
        ])  # fmt: skip
        for name, norm in zip(measured, norms, strict=True):
            yield Reading(name, f"gradient/{reading}_norm", norm)
        yield Reading("", f"gradient/{reading}_norm", norms.norm())
