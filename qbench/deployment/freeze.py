"""A trained network as integer codes, codebooks, and what stayed float.

The tensors of a quantized layer ``conv`` are

    conv.weight.codes       uint8 [bytes], the packed codes (:mod:`qbench.deployment.packing`)
    conv.weight.codebook    float32 [L] or [channels, L], the level values
    conv.weight.shape       int64, the weight's shape

beside its bias and its activation quantizer's state under their usual names. The latent weight and
the weight quantizer are not part of it.
"""

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor, nn

from qbench.deployment.packing import bits_for, pack
from qbench.models.layers import QuantLayer

__all__ = ["FORMAT", "coded_layers", "deployed_bytes", "float_state", "freeze", "save_deployed"]

FORMAT = 1
"""The version of the file's layout."""


@torch.no_grad()
def freeze(model: nn.Module) -> dict[str, Tensor]:
    """The deployed form of a network.

    Args:
        model: A network after ``quantize``; a float one is its own deployed form.

    Returns:
        New tensors on the CPU, by name.

    Raises:
        ValueError: A weight quantizer returned codes that its codebook does not have.
    """
    tensors = {
        name: part.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, part in float_state(model).items()
    }
    for name, layer in coded_layers(model).items():
        if layer.weight_quantizer is None:
            continue
        codes, codebook = layer.weight_quantizer.codes(layer.weight)
        _check(name, layer.weight, codes, codebook)
        tensors[f"{name}.weight.codes"] = pack(codes, bits_for(codebook.shape[-1]))
        tensors[f"{name}.weight.codebook"] = codebook.detach().cpu().contiguous().clone()
        tensors[f"{name}.weight.shape"] = torch.tensor(codes.shape)
    return tensors


def coded_layers(model: nn.Module) -> dict[str, QuantLayer]:
    """The layers whose weights are deployed as codes, by every name that they go by."""
    return {
        name: part
        for name, part in model.named_modules(remove_duplicate=False)
        if isinstance(part, QuantLayer) and part.weight_quantizer is not None
    }


def float_state(model: nn.Module) -> dict[str, Tensor]:
    """The entries of ``state_dict`` that are deployed as they are; they share its memory."""
    layers = coded_layers(model)
    latent = {f"{name}.weight" for name in layers}
    training = tuple(f"{name}.weight_quantizer." for name in layers)
    return {
        name: part
        for name, part in model.state_dict().items()
        if name not in latent and not name.startswith(training)
    }


def save_deployed(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors of :func:`freeze` as a safetensors file; equal tensors give equal bytes.

    The header's metadata has one entry, ``qbench``: JSON with the format's version and, for each
    quantized layer, the shape, the bits of a code and the levels, for other readers.
    """
    layers = {}
    for key, codebook in tensors.items():
        name = key.removesuffix(".weight.codebook")
        if name != key:
            levels = codebook.shape[-1]
            shape = tensors[f"{name}.weight.shape"].tolist()
            layers[name] = {"shape": shape, "bits": bits_for(levels), "levels": levels}
    # One metadata entry only: the library writes several in an order that changes between runs.
    about = json.dumps({"format": FORMAT, "layers": layers}, sort_keys=True)
    data: bytes = save(dict(sorted(tensors.items())), metadata={"qbench": about})
    return data


def deployed_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors together, without the file's header."""
    return sum(part.numel() * part.element_size() for part in tensors.values())


def _check(name: str, weight: Tensor, codes: Tensor, codebook: Tensor) -> None:
    if codes.shape != weight.shape or codes.is_floating_point():
        raise ValueError(
            f"the quantizer of layer '{name}' returned codes {tuple(codes.shape)} of type "
            f"{codes.dtype} for a weight {tuple(weight.shape)}; codes are integers of its shape"
        )
    rows = codebook.shape[:-1]
    wrong = codebook.ndim == 0 or rows not in ((), weight.shape[:1])
    if wrong or codebook.dtype != torch.float32:
        raise ValueError(
            f"the quantizer of layer '{name}' returned a codebook {tuple(codebook.shape)} of type "
            f"{codebook.dtype}; allowed: float32 [levels] or [{weight.shape[0]}, levels]"
        )
    levels = codebook.shape[-1]
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < levels:
        raise ValueError(
            f"the quantizer of layer '{name}' returned codes from {int(codes.min())} to "
            f"{int(codes.max())}; its codebook has {levels} levels, counted from 0"
        )
