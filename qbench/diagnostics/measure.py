"""Running diagnostics: no side effect on the network or on random numbers, one read at the end."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from qbench.diagnostics.contract import Diagnostic, Measurement, Points, Reading
from qbench.registry import diagnostics
from qbench.store import LayerRow, PointRow, Row

__all__ = ["Chosen", "Measured", "measure", "spread"]


@dataclass(frozen=True)
class Chosen:
    """A diagnostic with its options."""

    name: str
    options: dict[str, Any]
    layers: int | None = None
    """How many layers, spread over the depth; nothing for all."""


class Measured(NamedTuple):
    """What a measurement found."""

    network: list[Row]
    layers: list[LayerRow]
    points: list[PointRow]


def measure(
    chosen: Iterable[Chosen],
    measurement: Measurement,
    phase: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Measured:
    """Run diagnostics on a network, which is bit for bit as before afterwards.

    Args:
        chosen: The diagnostics.
        measurement: The network and its moment; its ``layers`` are those to choose from.
        phase: A clock's phase around each diagnostic, ``diagnose/NAME``.

    Returns:
        Values of the network, means over layers among them; values of layers; points.
    """
    found: list[Reading | Points] = []
    with measurement.probe.undisturbed():
        for one in chosen:
            diagnostic: Diagnostic = diagnostics.load(one.name)
            layers = spread(measurement.layers, one.layers)
            with phase(f"diagnose/{one.name}"):
                found.extend(diagnostic(replace(measurement, layers=layers), **one.options))
    readings = [one for one in found if isinstance(one, Reading)]
    points = [one for one in found if isinstance(one, Points)]
    device = measurement.probe.images.device  # some values were made on the host
    together = [one.value.double().to(device, non_blocking=True) for one in readings]
    values = torch.stack(together).tolist() if readings else []
    return Measured(*_rows(readings, values, measurement.epoch), _points(points, measurement.epoch))


def spread(names: tuple[str, ...], count: int | None) -> tuple[str, ...]:
    """So many names at equal distances, the first and the last among them."""
    if count is None or count >= len(names):
        return names
    if count == 1:
        return names[len(names) // 2 :][:1]
    return tuple(names[round(k * (len(names) - 1) / (count - 1))] for k in range(count))


def _rows(
    readings: list[Reading], values: list[float], epoch: int
) -> tuple[list[Row], list[LayerRow]]:
    network = {
        one.name: value for one, value in zip(readings, values, strict=True) if not one.layer
    }
    layers: list[LayerRow] = []
    by_name: defaultdict[str, list[float]] = defaultdict(list)
    for one, value in zip(readings, values, strict=True):
        if one.layer:
            layers.append(LayerRow(epoch, one.layer, one.name, value))
            by_name[one.name].append(value)
    for name, several in by_name.items():
        network.setdefault(name, _mean(name, several))
    return [Row(epoch, name, value) for name, value in network.items()], layers


def _mean(name: str, values: list[float]) -> float:
    if name.endswith("_se"):  # of a mean of independent values
        return float(sum(value**2 for value in values) ** 0.5 / len(values))
    return sum(values) / len(values)


def _points(points: list[Points], epoch: int) -> list[PointRow]:
    return [
        PointRow(epoch, one.layer, one.name, x, y)
        for one in points
        for x, y in zip(one.x.tolist(), one.y.tolist(), strict=True)
    ]
