"""From a float network to a quantized one: which layers, how they are swapped, how they start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn

from qbench.errors import UsageError, unknown
from qbench.models.batch_norm import with_batch_statistics
from qbench.models.layers import QuantConv2d, QuantLayer, QuantLinear, quantized_layers
from qbench.quantizers.contract import Quantizer

__all__ = [
    "LayerPolicy",
    "QuantizerFactory",
    "initialize",
    "layers_kept",
    "policy_report",
    "quantize",
]

QuantizerFactory = Callable[[], Quantizer]
"""Makes a fresh quantizer; called once a layer."""

_WORDS = ("first", "last", "shortcut")


def quantize(
    model: nn.Module,
    *,
    weights: QuantizerFactory | None,
    activations: QuantizerFactory | None,
    keep_float: Sequence[str],
) -> dict[str, QuantLayer]:
    """Make quantized layers of a float network's convolutions and linear layers, in place.

    Parameters, their names, hooks and memory formats stay as they are. Only layers of the very
    types ``Conv2d`` and ``Linear`` are swapped: a subclass may use its weight in another way (such
    as the output projection of ``MultiheadAttention``) and stays float. A method that connects its
    layers does so here, once.

    Args:
        model: The float network.
        weights: Makes the weights' quantizers; nothing leaves the weights float.
        activations: Makes the quantizers of the layers' inputs; nothing leaves them float.
        keep_float: ``first`` and ``last`` (in order of registration; the last linear layer, or the
            last convolution where there is none), ``shortcut`` (1x1 convolutions in a part named
            shortcut or downsample), or patterns of dotted names.

    Returns:
        The quantized layers by their dotted names, in order.

    Raises:
        UsageError: A pattern matches no layer, or no layer is left to quantize.
    """
    if weights is None and activations is None:
        return {}
    layers = _float_layers(model)
    kept = layers_kept(model, keep_float)
    chosen = [layer for name, layer in layers.items() if name not in kept]
    if not chosen:
        raise UsageError(
            f"keep_float={list(keep_float)} leaves no layer to quantize; the network's layers are "
            f"{', '.join(layers) or 'none'}: keep fewer, or take a deeper model"
        )
    for layer in chosen:
        _swap(layer, weights, activations)
    quantized = quantized_layers(model)
    _connect(quantized)
    return quantized


def layers_kept(model: nn.Module, keep_float: Sequence[str]) -> set[str]:
    """The dotted names of a float network's convolutions and linear layers that stay float.

    Args:
        model: The float network.
        keep_float: Words and patterns as for :func:`quantize`.

    Raises:
        UsageError: A pattern matches no layer.
    """
    layers = _float_layers(model)
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    words = {
        "first": set(list(layers)[:1]),
        "last": set((linear or list(layers))[-1:]),
        "shortcut": {name for name, layer in layers.items() if _is_shortcut(name, layer)},
    }
    kept: set[str] = set()
    for pattern in keep_float:
        found = words.get(pattern, {name for name in layers if fnmatchcase(name, pattern)})
        if not found and pattern not in words:
            raise UsageError(unknown("layer for keep_float", pattern, (*_WORDS, *layers)))
        kept |= found
    return kept


@dataclass(frozen=True)
class LayerPolicy:
    """What became of one layer."""

    name: str
    kind: str
    """The layer's class, such as ``Conv2d``."""
    parameters: int
    """How many parameters the layer has, without its quantizers' own."""
    weight_bits: int
    """32 for float."""
    activation_bits: int
    """32 for float."""

    @property
    def quantized(self) -> bool:
        """Whether the layer's weight or input is quantized."""
        return min(self.weight_bits, self.activation_bits) < 32


def policy_report(model: nn.Module) -> list[LayerPolicy]:
    """Every layer with a weight matrix or larger, quantized or float, in order."""
    quantizers = [part for part in model.modules() if isinstance(part, Quantizer)]
    inside = {id(below) for quantizer in quantizers for below in quantizer.modules()}
    report = []
    for name, part in model.named_modules():
        own = list(part.parameters(recurse=False))
        if id(part) in inside or all(parameter.ndim < 2 for parameter in own):
            continue
        weight, activation = (
            (part.weight_quantizer, part.activation_quantizer)
            if isinstance(part, QuantLayer)
            else (None, None)
        )
        report.append(
            LayerPolicy(
                name=name,
                kind=type(part).__name__.removeprefix("Quant"),
                parameters=sum(parameter.numel() for parameter in own),
                weight_bits=weight.bit_width if weight is not None else 32,
                activation_bits=activation.bit_width if activation is not None else 32,
            )
        )
    return report


@torch.no_grad()
def initialize(model: nn.Module, images: Tensor) -> None:
    """Start each layer's quantizers from data, in the order in which the layers are reached.

    One forward of ``images``: when a layer's input arrives, its activation quantizer starts from
    it, then its weight quantizer from the weight. So a layer sees what the quantized layers before
    it make. Batch norm uses the batch's statistics; its running statistics and all training flags
    are unchanged afterwards.

    Args:
        model: The network after :func:`quantize`.
        images: The first training batch ``[batch, channels, height, width]``.

    Raises:
        UsageError: A quantized layer is not called, so that its quantizers would do nothing; or an
            activation quantizer needs values of both signs and gets none below 0.
    """
    waiting = quantized_layers(model)
    names = {id(layer): name for name, layer in waiting.items()}

    def start(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # A layer that is used twice starts from its first input only.
        if isinstance(layer, QuantLayer) and waiting.pop(names[id(layer)], None) is not None:
            (x,) = inputs
            if layer.activation_quantizer is not None:
                _check_signs(layer.activation_quantizer, x, names[id(layer)])
                layer.activation_quantizer.initialize(x, layer, x)
            if layer.weight_quantizer is not None:
                layer.weight_quantizer.initialize(layer.weight, layer, x)

    hooks = [layer.register_forward_pre_hook(start) for layer in waiting.values()]
    with with_batch_statistics(model) as norms:
        running = [
            (buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)
        ]
        try:
            model(images)
        finally:
            for buffer, before in running:
                buffer.copy_(before)
            for hook in hooks:
                hook.remove()
    if waiting:
        raise UsageError(
            f"the network does not call {len(waiting)} of its layers, or uses their weights in "
            f"another way, so they cannot be quantized: {', '.join(waiting)}; add them to "
            "keep_float"
        )


def _check_signs(quantizer: Quantizer, x: Tensor, name: str) -> None:
    if quantizer.signed_inputs and bool((x >= 0).all()):
        raise UsageError(
            f"{type(quantizer).__name__} takes the signs of a layer's inputs, and those of "
            f"'{name}' have none below 0: choose a model whose layers read signed values, such "
            "as resnet20 with activation: hardtanh, or another method for the activations"
        )


def _float_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear) and type(part) in (nn.Conv2d, nn.Linear)
    }


def _is_shortcut(name: str, layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and set(layer.kernel_size) == {1}
        and any(word in part for part in name.split(".") for word in ("shortcut", "downsample"))
    )


def _swap(
    layer: nn.Conv2d | nn.Linear,
    weights: QuantizerFactory | None,
    activations: QuantizerFactory | None,
) -> None:
    # The object changes its class, so that parameters, hooks and every reference to the layer stay,
    # and no random number is drawn for a weight that would be thrown away.
    layer.__class__ = QuantConv2d if isinstance(layer, nn.Conv2d) else QuantLinear
    twin = cast(QuantLayer, layer)
    twin.mode = "training"
    twin.activation_quantizer = activations() if activations is not None else None
    twin.weight_quantizer = weights() if weights is not None else None


def _connect(layers: dict[str, QuantLayer]) -> None:
    groups: dict[type[Quantizer], list[Quantizer]] = {}
    for layer in layers.values():
        for quantizer in (layer.activation_quantizer, layer.weight_quantizer):
            if quantizer is not None:
                groups.setdefault(type(quantizer), []).append(quantizer)
    for kind, quantizers in groups.items():
        kind.connect(quantizers)
