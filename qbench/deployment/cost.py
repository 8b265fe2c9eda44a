"""What one image costs a deployed network: multiply-accumulates, bit-operations, ideal bytes.

One multiply-accumulate (MAC) is one multiplication with one addition. Convolutions and linear
layers are counted, as in most papers: each element of their output takes as many MACs as one output
channel has weights (input channels / groups x kernel area). Biases, batch norm, activation
functions, pooling and the quantizers' own arithmetic are not.

Float operations (FLOPs) are two a MAC, of the layers whose weight or input is float: the others
compute on integers (:mod:`qbench.deployment.integer`). Papers on binary networks (Bi-Real net, Liu
et al., ECCV 2018, arXiv:1808.00278) count one a MAC, and add 1/64 of the binary MACs, which is one
machine's word length; from the numbers here that is flops / 2 + binary MACs / 64.

Bit-operations (BOPs) are the sum over layers of MACs x bits of the weight x bits of the input, with
32 bits for float, as in Bayesian Bits (van Baalen et al., NeurIPS 2020, arXiv:2005.07093). UNIQ
(Baskin et al., 2018, arXiv:1804.10969) adds the accumulator's width to each product; that part
depends on the hardware, and hides what the bits alone change, so it is left out. Bits are those of
the deployed codes (three levels have 2), not those of the study's claim. BOPs are no time: few
machines compute with 3 bits.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor, nn

from qbench.models.evaluation import evaluating
from qbench.quantizers.contract import Quantizer

__all__ = ["DeployedCost", "deployed_cost", "layer_macs"]

FLOAT_BITS = 32
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class DeployedCost(NamedTuple):
    """The costs of a deployed network that need no clock and no training."""

    macs: int
    """Multiply-accumulates of one image."""
    bops: int
    """Bit-operations of one image."""
    flops: int
    """Float operations of one image, of the layers whose weight or input is float."""
    weight_bits: float
    """Bits of a weight of the counted layers, their mean; float ones have 32."""
    activation_bits: float
    """Bits of an element of the counted layers' inputs, their mean."""
    parameters: int
    """Of the network, quantized and float ones; what quantizers add does not count."""
    ideal_bytes: int
    """Bits of the codes of all coded weights, and 4 bytes for each number that stayed float (batch
    norm's statistics too); without codebooks, shapes, counters and the file's header."""
    uncounted_layers: int
    """Layers with a matrix or a kernel whose MACs are not in the sum: of another kind, or only
    reached in another way than by a call. 0 says that ``macs`` is the whole network's."""


def deployed_cost(
    model: nn.Module,
    image: Tensor,
    weight_bits: Mapping[str, int],
    input_bits: Mapping[str, int],
) -> DeployedCost:
    """Count what one image takes.

    Args:
        model: The deployed network; its state is unchanged afterwards.
        image: ``[1, channels, height, width]``, on the model's device.
        weight_bits: Bits of the codes of each layer whose weight is coded; others are float.
        input_bits: Likewise of layers' inputs.
    """
    counts = _counts(model, image)
    macs = {name: count.macs for name, count in counts.items()}
    bits = {
        name: (weight_bits.get(name, FLOAT_BITS), input_bits.get(name, FLOAT_BITS)) for name in macs
    }
    coded = {f"{name}.weight": bits for name, bits in weight_bits.items()}
    tensors = model.state_dict()
    code_bits = sum(bits * tensors[name].numel() for name, bits in coded.items())
    floats = sum(
        part.numel()
        for name, part in tensors.items()
        if name not in coded and part.is_floating_point()
    )
    inside = _inside_quantizers(model)
    own = [part for part in model.parameters() if id(part) not in inside]
    return DeployedCost(
        macs=sum(macs.values()),
        bops=sum(count * math.prod(bits[name]) for name, count in macs.items()),
        flops=sum(2 * count for name, count in macs.items() if FLOAT_BITS in bits[name]),
        weight_bits=_mean((bits[name][0], count.weights) for name, count in counts.items()),
        activation_bits=_mean((bits[name][1], count.inputs) for name, count in counts.items()),
        parameters=sum(part.numel() for part in own),
        ideal_bytes=math.ceil(code_bits / 8) + 4 * floats,
        uncounted_layers=_uncounted(model, macs, inside),
    )


def layer_macs(model: nn.Module, image: Tensor) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer that is called, by its name.

    Args:
        model: The network; a layer that is called twice counts twice.
        image: ``[1, channels, height, width]``, on the model's device.
    """
    return {name: count.macs for name, count in _counts(model, image).items()}


class _Count(NamedTuple):
    """What a layer takes for one image."""

    macs: int = 0
    weights: int = 0
    inputs: int = 0


def _counts(model: nn.Module, image: Tensor) -> dict[str, _Count]:
    found: dict[str, _Count] = {}

    def count(name: str, layer: nn.Module, read: Tensor, output: Tensor) -> None:
        weight = layer.weight
        if isinstance(weight, Tensor):
            before = found.get(name, _Count())
            found[name] = _Count(
                macs=before.macs + output.numel() * weight[0].numel(),
                weights=weight.numel(),
                inputs=before.inputs + read.numel(),
            )

    with ExitStack() as stack, evaluating(model, "deployed"):
        for name, layer in model.named_modules():
            if isinstance(layer, COUNTED):
                hook = layer.register_forward_hook(
                    lambda part, inputs, output, name=name: count(name, part, inputs[0], output)
                )
                stack.callback(hook.remove)
        model(image)
    return found


def _mean(bits: Iterable[tuple[int, int]]) -> float:
    """The mean of bits, each as often as its number says."""
    pairs = list(bits)
    number = sum(count for _, count in pairs)
    return sum(one * count for one, count in pairs) / number if number else 0.0


def _is_matrix(part: Tensor) -> bool:
    return sum(length > 1 for length in part.shape) > 1  # a scale of shape [channels, 1, 1] is none


def _inside_quantizers(model: nn.Module) -> set[int]:
    quantizers = (part for part in model.modules() if isinstance(part, Quantizer))
    return {id(own) for quantizer in quantizers for own in quantizer.parameters()}


def _uncounted(model: nn.Module, macs: Mapping[str, int], inside: set[int]) -> int:
    return sum(
        name not in macs
        and any(_is_matrix(own) and id(own) not in inside for own in part.parameters(recurse=False))
        for name, part in model.named_modules()
    )
