"""The numbers of its own that a method wants to be seen."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.registry import diagnostics

__all__ = ["method_readings"]


@diagnostics.register("method_readings", unit="the method's own")
def method_readings(measurement: Measurement) -> Iterator[Reading]:
    """What quantizers tell of themselves, such as a scale, per layer and as a mean.

    Formula: the method's, see ``python -m qbench.list quantizers -v``; the names are
    ``weight/NAME`` and ``activation/NAME``.

    Meaning: shows that a schedule does what it should and where learned scalars go, such as the
    gain by which MetaQuant's network multiplies gradients.

    Range: the method's.

    Cost: no forward.

    Misleads: numbers of two methods do not compare, even of one name.

    Source: the methods'.
    """
    with torch.no_grad():
        for name in measurement.layers:
            layer = measurement.probe.layers[name]
            for quantizer in (layer.weight_quantizer, layer.activation_quantizer):
                if quantizer is not None:
                    for key, value in quantizer.readings().items():
                        yield Reading(name, f"{quantizer.target}/{key}", value.detach())
