"""How many weights got another code since the last measurement."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.models.layers import quantized_layers
from qbench.registry import diagnostics

__all__ = ["code_changes"]


@diagnostics.register("code_changes", unit="share of weights")
def code_changes(measurement: Measurement) -> Iterator[Reading]:
    """Share of weights whose code changed since the last measurement, per layer and as a mean.

    The first measurement has nothing to compare with and yields nothing. It is a net change: a
    weight that went and came back does not count.
    """
    with torch.no_grad():
        for name, layer in quantized_layers(measurement.model).items():
            if layer.weight_quantizer is None:
                continue
            codes = layer.weight_quantizer.codes(layer.weight)[0].to(torch.int16)
            before = measurement.memory.get(f"code_changes/{name}")
            measurement.memory[f"code_changes/{name}"] = codes
            if before is not None:
                yield Reading(name, "code_changes", (codes != before).float().mean())
