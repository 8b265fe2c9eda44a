"""Post-training quantization: layer by layer, from what each layer reads before and after."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.datasets.loader import Loader
from qbench.datasets.streams import stream
from qbench.models.evaluation import evaluating
from qbench.models.layers import QuantConv2d, QuantLayer, quantized_layers
from qbench.quantizers.contract import Quantizer

__all__ = ["CALIBRATION_IMAGES", "KEPT_PATCHES", "calibration_images", "fit_layers", "patches"]

CALIBRATION_IMAGES = 128
"""Unaugmented training images, the same ones whatever the seed (one batch in GPFQ's code)."""
KEPT_PATCHES = 0.25
"""The share of a convolution's patches that its weights are fitted to (GPFQ's code)."""


def calibration_images(loader: Loader) -> Tensor:
    """The images that quantizers are fitted to, ``[batch, channels, height, width]``."""
    batches = loader.plain_training(math.ceil(CALIBRATION_IMAGES / loader.batch))
    return torch.cat([images for images, _ in batches])[:CALIBRATION_IMAGES]


def fit_layers(model: nn.Module, loader: Loader, seed: int) -> None:
    """Fit the weight quantizers whose class overrides ``fit``, in the order of the forward.

    Two forwards of :func:`calibration_images`, with batch norm on its running statistics: one of
    the float network, which keeps what each of those layers reads; and one of the deployed network,
    in which a layer is fitted when its input arrives, so that it sees what the fitted layers
    before it make. ``fit`` gets both as the layer multiplies them with its weight:
    ``[groups, samples, features]``, with the features of ``weight.flatten(1)``. Samples of a
    convolution are the patches at a share of the places, drawn for each layer; of a linear layer,
    all its inputs. A layer that is used twice is fitted to its first input.

    Args:
        model: The network with its quantizers initialized; where none overrides ``fit``, nothing
            happens.
        loader: Of the trial.
        seed: Of the drawn places.
    """
    layers = {
        name: layer
        for name, layer in quantized_layers(model).items()
        if layer.weight_quantizer is not None and _has_fit(layer.weight_quantizer)
    }
    if not layers:
        return
    images = calibration_images(loader)
    order = {name: index for index, name in enumerate(layers)}
    read: dict[str, Tensor] = {}

    def fit(name: str, x: Tensor) -> None:
        layer = layers[name]
        x_float, x_quantized = patches(layer, read.pop(name)), patches(layer, x)
        if isinstance(layer, QuantConv2d):
            places = _drawn(x.device, x_float.shape[1], seed, order[name])
            x_float, x_quantized = x_float[:, places], x_quantized[:, places]
        if layer.weight_quantizer is not None:
            layer.weight_quantizer.fit(layer.weight, x_float, x_quantized)

    with evaluating(model, "deployed"):
        with _as_float(model), _at_first_inputs(layers, read.__setitem__):
            model(images)
        with _at_first_inputs(layers, lambda name, x: fit(name, layers[name].quantized_input(x))):
            model(images)


def _has_fit(quantizer: Quantizer) -> bool:
    return type(quantizer).fit is not Quantizer.fit


@contextmanager
def _as_float(model: nn.Module) -> Iterator[None]:
    """The network without its quantizers; afterwards weights are quantized in each forward."""
    layers = list(quantized_layers(model).values())
    activations = [layer.activation_quantizer for layer in layers]
    for layer in layers:
        layer.fixed_weight, layer.activation_quantizer = layer.weight.detach(), None
    try:
        yield
    finally:
        for layer, quantizer in zip(layers, activations, strict=True):
            layer.fixed_weight, layer.activation_quantizer = None, quantizer


@contextmanager
def _at_first_inputs(
    layers: Mapping[str, QuantLayer], act: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``act(name, input)`` when a layer is reached for the first time, before it computes."""
    waiting = set(layers)

    def reached(name: str, x: Tensor) -> None:
        if name in waiting:
            waiting.discard(name)
            act(name, x)

    with ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(
                lambda _, inputs, name=name: reached(name, inputs[0])
            )
            stack.callback(hook.remove)
        yield


def _drawn(device: torch.device, count: int, seed: int, layer: int) -> Tensor:
    """The patches that are kept, of ``count``."""
    kept = max(round(KEPT_PATCHES * count), 1)
    draw = stream(seed, "post-training", layer)
    return torch.from_numpy(draw.choice(count, kept, replace=False)).to(device)


def patches(layer: QuantLayer, x: Tensor) -> Tensor:
    """What a layer multiplies its weight with.

    Args:
        layer: A convolution or a linear layer.
        x: Its input, ``[batch, channels, height, width]`` or ``[…, features]``.

    Returns:
        ``[groups, samples, features]``, features as in ``weight.flatten(1)``: summed over them,
        the product with ``weight.flatten(1)`` is the layer's output without its bias.
    """
    if not isinstance(layer, QuantConv2d):
        return x.reshape(1, -1, x.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    columns = F.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    batch, _, places = columns.shape
    grouped = columns.view(batch, layer.groups, -1, places)  # the third: features
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)
