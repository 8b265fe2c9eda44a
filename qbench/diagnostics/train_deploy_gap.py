"""D2: how far the values that training computes with lie from the deployed ones."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.finite import finite
from qbench.diagnostics.probe import Probe
from qbench.models.layers import QuantLayer
from qbench.quantizers.contract import Quantizer
from qbench.registry import diagnostics

__all__ = ["relative_gap", "train_deploy_gap"]

_WEIGHT = "discretization/train_deploy_gap"
_LOCAL = "discretization/activation_gap_local"
_PROPAGATED = "discretization/activation_gap"


@diagnostics.register(
    "train_deploy_gap",
    unit="1",
    tracked=("discretization/train_deploy_gap_db", "discretization/activation_gap_db"),
)
def train_deploy_gap(measurement: Measurement, *, images: int = 128) -> Iterator[Reading]:
    """Squared distance of training's values to the deployed ones, over the latter's square.

    Formula: sum (W~ - W)^2 / sum W^2 of each layer's weight, and the same of its quantized input:
    local, where the deployed quantizer gets the input of the training forward; propagated, where
    the whole network is deployed (batch norm on the batch's statistics in both).  _db is
    10 log10 of it; the network's is that of the mean over layers.

    Meaning: the discretization error that a soft forward leaves for deployment. The propagated gap
    is what layers really get, the local one says in which layer it arises.

    Range: from 0 on; exactly 0 for a hard forward, which then has no value in dB.

    Cost: two forwards of the diagnostic batch, none where activations are float; ``images`` of the
    batch are compared.

    Misleads: a small gap of weights can be a large one of outputs after many layers (see
    output_gap), and a gap says nothing of gradients.

    Source: "quantizer gap" of Kim et al., DAQ, AAAI 2021, arXiv:2103.08373 (in words); the norm is
    this project's.
    """
    with torch.no_grad():
        found = list(finite(_readings(measurement, images)))
    yield from found
    yield from _decibels(found)


def relative_gap(trained: Tensor, deployed: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of the gap, 0-dim float64.

    Args:
        trained: The training forward's values, any shape.
        deployed: The deployed values, of the same shape.
    """
    reference = deployed.double()
    return (trained.double() - reference).square().sum(), reference.square().sum()


def _readings(measurement: Measurement, images: int) -> Iterator[Reading]:
    probe = measurement.probe
    for name in measurement.layers:
        layer = probe.layers[name]
        if layer.weight_quantizer is not None:
            difference, size = relative_gap(
                layer.weight_quantizer(layer.weight), probe.deployed[name]
            )
            yield Reading(name, _WEIGHT, difference / size)
    layers = {
        name: probe.layers[name]
        for name in measurement.layers
        if probe.layers[name].activation_quantizer is not None
    }
    if layers:
        yield from _activations(probe, layers, images)


def _decibels(found: list[Reading]) -> Iterator[Reading]:
    whole = {
        name: torch.stack([one.value for one in found if one.name == name]).mean()
        for name in dict.fromkeys(one.name for one in found)
    }
    gaps = [*found, *(Reading("", name, value) for name, value in whole.items())]
    yield from finite(Reading(one.layer, f"{one.name}_db", 10 * one.value.log10()) for one in gaps)


class _Seen(NamedTuple):
    """What a layer computed with in one call of the training forward."""

    values: Tensor
    local: tuple[Tensor, Tensor]


def _activations(probe: Probe, layers: dict[str, QuantLayer], images: int) -> Iterator[Reading]:
    seen: dict[str, list[_Seen]] = {name: [] for name in layers}
    propagated: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[..., None]:
        def hook(quantizer: Quantizer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            local = relative_gap(output[:images], quantizer.deployed(inputs[0])[:images])
            # A copy, as a view would keep the whole batch.
            seen[name].append(_Seen(output[:images].clone(), local))

        return hook

    def compare(name: str) -> Callable[..., None]:
        def hook(layer: QuantLayer, inputs: tuple[Tensor, ...]) -> None:
            quantizer = layer.activation_quantizer
            if quantizer is None:
                raise TypeError(f"{name} lost its activation quantizer")
            trained = seen[name][len(propagated[name])].values
            deployed = quantizer.deployed(inputs[0])[:images]
            propagated[name].append(relative_gap(trained, deployed))

        return hook

    quantizers: dict[str, nn.Module] = {
        name: layer.activation_quantizer
        for name, layer in layers.items()
        if layer.activation_quantizer is not None
    }
    with ExitStack() as stack:
        for name, quantizer in quantizers.items():
            stack.callback(quantizer.register_forward_hook(keep(name)).remove)
        probe.losses("training")
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(compare(name)).remove)
        probe.losses("deployed")
    for name in layers:
        yield Reading(name, _LOCAL, _ratio([one.local for one in seen[name]]))
        yield Reading(name, _PROPAGATED, _ratio(propagated[name]))


def _ratio(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The gap over all calls of a layer."""
    differences, sizes = zip(*parts, strict=True)
    return torch.stack(differences).sum() / torch.stack(sizes).sum()
