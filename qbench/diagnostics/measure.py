"""Running diagnostics: no side effect on the network or on random numbers, one read at the end."""

from collections import defaultdict
from collections.abc import Sequence

import torch

from qbench.diagnostics.contract import Diagnostic, Measurement, Reading
from qbench.registry import diagnostics
from qbench.store import LayerRow, Row

__all__ = ["measure"]


def measure(
    names: Sequence[str], measurement: Measurement, seed: int
) -> tuple[list[Row], list[LayerRow]]:
    """Run diagnostics on a network.

    Args:
        names: Registered diagnostics.
        measurement: The network and its moment.
        seed: Of what stochastic quantizers draw meanwhile; training's own stream is untouched.

    Returns:
        Values of the network, means over layers among them, and values of layers.
    """
    readings: list[Reading] = []
    devices = [parameter.device for parameter in measurement.model.parameters()][:1]
    with torch.random.fork_rng([d for d in devices if d.type == "cuda"]):
        torch.manual_seed(seed)
        for name in names:
            diagnostic: Diagnostic = diagnostics.load(name)
            readings.extend(diagnostic(measurement))
    if not readings:
        return [], []
    values = torch.stack([reading.value.double() for reading in readings]).tolist()
    network: list[Row] = []
    layers: list[LayerRow] = []
    by_name: defaultdict[str, list[float]] = defaultdict(list)
    for reading, value in zip(readings, values, strict=True):
        if reading.layer:
            layers.append(LayerRow(measurement.epoch, reading.layer, reading.name, value))
            by_name[reading.name].append(value)
        else:
            network.append(Row(measurement.epoch, reading.name, value))
    for name, found in by_name.items():
        network.append(Row(measurement.epoch, name, sum(found) / len(found)))
    return network, layers
