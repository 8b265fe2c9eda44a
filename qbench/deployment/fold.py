"""Batch norm as a part of the layer before it: each channel's weights times a factor, and a bias.

    gamma (w x + b - mean) / sqrt(var + eps) + beta = (f w) x + f (b - mean) + beta,
    f = gamma / sqrt(var + eps)

The codes of a weight stay; its levels are multiplied, so that each channel has its own. Sums are
rounded in another order: with n weights a channel and u = 2^-24, a pre-activation moves by at most

    (2 n + 16) u (|f| (3 L sum|x| + |b| + |mean|) + |beta|),  L the channel's largest |level|

(n products and sums on each side; four roundings of batch norm, two of the folded level and of the
bias), and where a quantized activation stands on the edge of two codes, it may take the other one.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Fold", "find_folds", "without_norms"]


class Fold(NamedTuple):
    """A batch norm that becomes part of a layer."""

    norm: str
    """Its dotted name."""
    factor: Tensor
    """Of each output channel's weights, float64 ``[channels]``."""
    bias: Tensor
    """The layer's new bias, float32 ``[channels]``."""


@torch.no_grad()
def find_folds(model: nn.Module, image: Tensor) -> dict[str, Fold]:
    """The batch norms that can be folded, by the name of the layer that they follow.

    Both are called once, and nothing but the batch norm reads what the layer makes: the network
    computes the same where all others get zeros.

    Args:
        model: The deployed network, in evaluation.
        image: One or more images, to see what follows what.
    """
    pairs = _pairs(model, image)
    expected = model(image)
    with _only_norms_see(model, pairs):
        alone = torch.equal(model(image), expected)
    if not alone:
        pairs = {layer: norm for layer, norm in pairs.items()
                 if _is_alone(model, {layer: norm}, image, expected)}  # fmt: skip
    return {layer: _fold(model, layer, norm) for layer, norm in pairs.items()}


def without_norms(model: nn.Module, folded: Mapping[str, str]) -> nn.Module:
    """Take folded batch norms out of a network, in place, and give the layers a bias.

    Args:
        model: A network with these layers and norms.
        folded: Layer to batch norm.
    """
    for layer_name, norm_name in folded.items():
        parent, _, leaf = norm_name.rpartition(".")
        norm, layer = model.get_submodule(norm_name), model.get_submodule(layer_name)
        setattr(model.get_submodule(parent), leaf, nn.Identity())
        if getattr(layer, "bias", None) is None and isinstance(norm, _BatchNorm):
            layer.bias = nn.Parameter(torch.zeros(norm.num_features))
    return model


def _fold(model: nn.Module, layer_name: str, norm_name: str) -> Fold:
    layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    gain = norm.weight.double() if isinstance(norm.weight, Tensor) else torch.ones_like(mean)
    shift = norm.bias.double() if isinstance(norm.bias, Tensor) else torch.zeros_like(mean)
    own = layer.bias.double() if isinstance(layer.bias, Tensor) else torch.zeros_like(mean)
    factor = gain.double() / (variance.double() + float(norm.eps)).sqrt()  # type: ignore[arg-type]
    return Fold(norm_name, factor, (factor * (own - mean.double()) + shift).float())


def _pairs(model: nn.Module, image: Tensor) -> dict[str, str]:
    """Layers whose output is the input of a batch norm, of those that are called once."""
    made: dict[str, Tensor] = {}  # kept, so that no other tensor takes an identity
    read: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def seen(name: str, tensors: dict[str, Tensor], value: Tensor) -> None:
        tensors[name] = value
        calls[name] = calls.get(name, 0) + 1

    with ExitStack() as stack:
        for name, part in model.named_modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                hook = part.register_forward_hook(
                    lambda _, __, output, name=name: seen(name, made, output)
                )
                stack.callback(hook.remove)
            elif isinstance(part, _BatchNorm) and part.running_mean is not None:
                before = part.register_forward_pre_hook(
                    lambda _, inputs, name=name: seen(name, read, inputs[0])
                )
                stack.callback(before.remove)
        model(image)
    layers = {id(output): name for name, output in made.items() if calls[name] == 1}
    found = {}
    for norm, value in read.items():
        layer = layers.get(id(value))
        rows = layer is not None and isinstance(model.get_submodule(layer), nn.Linear)
        if layer is not None and calls[norm] == 1 and (value.ndim == 2 or not rows):
            found[layer] = norm
    return found


def _is_alone(model: nn.Module, pair: Mapping[str, str], image: Tensor, expected: Tensor) -> bool:
    with _only_norms_see(model, pair):
        return torch.equal(model(image), expected)


@contextmanager
def _only_norms_see(model: nn.Module, pairs: Mapping[str, str]) -> Iterator[None]:
    """Let the layers return zeros, and the batch norms get what the layers made."""
    true: dict[str, Tensor] = {}

    def hide(layer: str, output: Tensor) -> Tensor:
        true[layer] = output
        return torch.zeros_like(output)

    def show(layer: str, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        del inputs
        return (true.pop(layer),)

    with ExitStack() as stack:
        for layer, norm in pairs.items():
            hidden = model.get_submodule(layer).register_forward_hook(
                lambda _, __, output, layer=layer: hide(layer, output)
            )
            shown = model.get_submodule(norm).register_forward_pre_hook(
                lambda _, inputs, layer=layer: show(layer, inputs)
            )
            stack.callback(hidden.remove)
            stack.callback(shown.remove)
        yield
