"""A deployed network from its file: weights are decoded from codes and codebooks, nothing else."""

import json
import math
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from qbench.deployment.freeze import FORMAT, coded_layers, float_state
from qbench.deployment.packing import bits_for, packed_bytes, unpack
from qbench.models.layers import set_mode
from qbench.quantizers.contract import decode

__all__ = ["decoded_weight", "load_deployed", "read_deployed"]

_PARTS = ("codes", "codebook", "shape")


@torch.no_grad()
def load_deployed(deployed: bytes | Mapping[str, Tensor], model: nn.Module) -> nn.Module:
    """Turn a freshly built and converted network into the deployed one, in place.

    Weights take their decoded float32 values and lose their quantizers; activation quantizers
    compute deployed values. Everything is checked before anything is changed.

    Args:
        deployed: The bytes of a file of ``save_deployed``, or the tensors of ``freeze``.
        model: A network with the same layers and quantizers as the one that was frozen.

    Returns:
        ``model``, with its training flags unchanged.

    Raises:
        ValueError: The file is damaged, or belongs to another network.
    """
    tensors = read_deployed(deployed) if isinstance(deployed, bytes) else dict(deployed)
    layers, state = coded_layers(model), float_state(model)
    _check_names(
        tensors, {*state, *(f"{name}.weight.{part}" for name in layers for part in _PARTS)}
    )
    for name, own in state.items():
        sized = own.numel() > 0  # else its quantizer sizes it by the first batch
        if (sized and tensors[name].shape != own.shape) or tensors[name].dtype != own.dtype:
            raise ValueError(_mismatch(name, tensors[name], own))
    values = {
        name: decoded_weight(name, tensors, layer.weight.shape) for name, layer in layers.items()
    }
    _give_sizes(model, tensors)
    for name, own in float_state(model).items():
        own.copy_(tensors[name])
    for name, layer in layers.items():
        layer.weight.copy_(values[name])
        layer.weight_quantizer = None
    set_mode(model, "deployed")
    return model


def read_deployed(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file of ``save_deployed``, by name.

    Raises:
        ValueError: The file is damaged, or of another version.
    """
    try:
        tensors: dict[str, Tensor] = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        version = json.loads(header["__metadata__"]["qbench"])["format"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the deployed network cannot be read ({error}); the file is damaged or was not "
            "written by qbench: run its trial again"
        ) from None
    if version != FORMAT:
        raise ValueError(
            f"the deployed network has format {version}, this qbench reads {FORMAT}; "
            "run its trial again"
        )
    return tensors


def _check_names(tensors: dict[str, Tensor], expected: set[str]) -> None:
    missing, extra = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
    if missing or extra:
        raise ValueError(
            "the deployed network belongs to another network or conversion: "
            f"{len(missing)} tensors are missing{_example(missing)} and {len(extra)} are not "
            f"expected{_example(extra)}; build it with the model, quantizers, bits and keep_float "
            "of its trial"
        )


def _example(names: list[str]) -> str:
    return f" (such as '{names[0]}')" if names else ""


def decoded_weight(name: str, tensors: Mapping[str, Tensor], own: tuple[int, ...]) -> Tensor:
    """The weight of one layer, codebook[codes], float32.

    Args:
        name: The layer.
        tensors: All tensors of the file.
        own: The shape of the network's weight.

    Raises:
        ValueError: Codes, codebook and shape do not fit together.
    """
    packed, codebook, shape = (tensors[f"{name}.weight.{part}"] for part in _PARTS)
    if shape.tolist() != list(own):
        raise ValueError(
            f"the deployed weight of layer '{name}' has shape {tuple(shape.tolist())}, the "
            f"network's has {tuple(own)}; build it with the model of its trial"
        )
    rows = codebook.shape[:-1]
    if codebook.dtype != torch.float32 or codebook.ndim == 0 or rows not in ((), tuple(own[:1])):
        raise ValueError(
            f"the codebook of layer '{name}' is {tuple(codebook.shape)} of type {codebook.dtype}; "
            f"allowed: float32 [levels] or [{own[0]}, levels]; the file is damaged: run its "
            "trial again"
        )
    levels = codebook.shape[-1]
    bits, count = bits_for(levels), math.prod(own)
    expected = packed_bytes(count, bits)
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (expected,):
        raise ValueError(
            f"the codes of layer '{name}' are {packed.numel()} values of type {packed.dtype}, not "
            f"{expected} bytes ({count} codes of {bits} bits); the file is damaged: run its "
            "trial again"
        )
    codes = unpack(packed, bits, tuple(own))
    if codes.numel() and int(codes.max()) >= levels:
        raise ValueError(
            f"the codes of layer '{name}' go up to {int(codes.max())}, its codebook has {levels} "
            "levels, counted from 0; the file is damaged: run its trial again"
        )
    return decode(codes, codebook.cpu())


def _give_sizes(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Size what is empty before a first batch, in place, as the file has it."""
    for name, own in (*model.named_parameters(), *model.named_buffers()):
        if own.numel() == 0 and name in tensors:
            own.data = own.new_empty(tensors[name].shape)


def _mismatch(name: str, found: Tensor, own: Tensor) -> str:
    return (
        f"the deployed tensor '{name}' is {tuple(found.shape)} of type {found.dtype}, the "
        f"network's is {tuple(own.shape)} of type {own.dtype}; build it with the model and "
        "quantizers of its trial"
    )
