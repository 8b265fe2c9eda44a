"""The network to take away: one small safetensors file with codes to the bit.

``deployed.safetensors`` of a trial is made to be looked into: a tensor each part, all level values
written out. This file is made to be small. It has few tensors, as each one's entry in the header
takes eighty bytes:

    codes    uint8, the packed codes of all coded weights, each from a whole byte on
    floats   float32, all that stayed float, and the numbers that levels are made of
    index    uint8, JSON compressed by zlib

and those of another type under their own names. The index has

    layers   name to shape, number of levels, and [first, stride, divisor] or nothing: a level is
             offset + scale ((first + stride code) / divisor), or offset + scale rows[code]; rows,
             scale and offset, as far as there are any, are the floats ``layer.weight.rows`` …
    floats   name to shape, in the order of the tensor
    folded   layer to the batch norm that is now a part of it

Counters of batches are left out: nothing that is deployed reads them.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from qbench.deployment.fold import Fold, without_norms
from qbench.deployment.freeze import float_state
from qbench.deployment.levels import Levels, few_numbers, rising
from qbench.deployment.load import decoded_weight, load_deployed
from qbench.deployment.packing import bits_for, pack, packed_bytes, unpack

__all__ = ["CompactNetwork", "compact", "read_compact", "restore", "save_compact"]

FORMAT = 1
LARGEST_INDEX = 2**26  # bytes; a damaged file must not fill the memory
COUNTER = "num_batches_tracked"
PARTS = ("rows", "scale", "offset")
DAMAGED = "the file is damaged or was not written by qbench: export the trial again"


@dataclass(frozen=True)
class CompactNetwork:
    """A deployed network in its parts."""

    coded: dict[str, tuple[Tensor, Levels]]
    """Layer to the codes, int64 of the weight's shape, and the levels."""
    kept: dict[str, Tensor]
    """What stayed as it is, by its name in ``state_dict``."""
    folded: dict[str, str] = field(default_factory=dict)
    """Layer to the batch norm that is now a part of it."""


def compact(tensors: Mapping[str, Tensor], folds: Mapping[str, Fold]) -> CompactNetwork:
    """The parts of a network, with batch norms folded.

    Args:
        tensors: What ``freeze`` returned.
        folds: What ``find_folds`` found in the network; empty to keep batch norms.

    Raises:
        ValueError: Codes, codebook and shape of a layer do not fit together.
    """
    ending = ".weight.codebook"
    layers = [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
    coded = {name: _coded(name, tensors) for name in sorted(layers)}
    parts = {f"{name}.weight.{part}" for name in layers for part in ("codes", "codebook", "shape")}
    norms = tuple(f"{fold.norm}." for fold in folds.values())
    kept = {
        name: part
        for name, part in sorted(tensors.items())
        if name not in parts and not name.startswith(norms) and name.split(".")[-1] != COUNTER
    }
    for layer, fold in folds.items():
        if layer in coded:
            codes, levels = coded[layer]
            coded[layer] = codes, levels.times(fold.factor)
        else:
            weight = kept[f"{layer}.weight"].double()
            factor = fold.factor.view(-1, *[1] * (weight.ndim - 1))
            kept[f"{layer}.weight"] = (factor * weight).float()
        kept[f"{layer}.bias"] = fold.bias
    return CompactNetwork(coded, kept, {layer: fold.norm for layer, fold in folds.items()})


def save_compact(network: CompactNetwork) -> bytes:
    """A network as a file; see the module."""
    layers: dict[str, Any] = {}
    floats: dict[str, Tensor] = {}
    packed = []
    for name, (codes, levels) in network.coded.items():
        layers[name] = [list(codes.shape), levels.number, levels.progression]
        packed.append(pack(codes, bits_for(levels.number)))
        parts = {part: getattr(levels, part) for part in PARTS}
        floats |= {f"{name}.weight.{part}": own for part, own in parts.items() if own is not None}
    floats |= {name: own for name, own in network.kept.items() if own.dtype == torch.float32}
    about = {
        "layers": layers,
        "floats": {name: list(part.shape) for name, part in floats.items()},
        "folded": network.folded,
    }
    text = json.dumps(about, separators=(",", ":")).encode()
    tensors = {name: own for name, own in network.kept.items() if name not in floats} | {
        "codes": torch.cat(packed) if packed else torch.zeros(0, dtype=torch.uint8),
        "floats": torch.cat([torch.zeros(0), *(part.flatten() for part in floats.values())]),
        "index": torch.frombuffer(bytearray(zlib.compress(text, 9)), dtype=torch.uint8),
    }
    data: bytes = save(dict(sorted(tensors.items())), metadata={"qbench_compact": str(FORMAT)})
    return data


def read_compact(data: bytes) -> CompactNetwork:
    """What :func:`save_compact` wrote.

    Raises:
        ValueError: The file is damaged, or of another kind or version.
    """
    try:
        tensors: dict[str, Tensor] = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        version = int(header["__metadata__"]["qbench_compact"])
        packed, floats, index = (tensors.pop(name) for name in ("codes", "floats", "index"))
        text = zlib.decompressobj().decompress(index.numpy().tobytes(), LARGEST_INDEX)
        about = json.loads(text)
        if version != FORMAT:
            raise ValueError(f"its format is {version}, this qbench reads {FORMAT}")
        named = _cut(floats, about["floats"])
        coded, start = {}, 0
        for name, (shape, count, progression) in about["layers"].items():
            own = tuple(map(int, shape))
            end = start + packed_bytes(math.prod(own), bits_for(count))
            codes = unpack(packed[start:end], bits_for(count), own)
            coded[name] = codes, _levels(name, int(count), progression, named)
            start = end
        if start != len(packed):
            raise ValueError(f"it has {len(packed)} bytes of codes, and its index {start}")
        return CompactNetwork(coded, named | tensors, dict(about["folded"]))
    except (SafetensorError, KeyError, TypeError, ValueError, zlib.error, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the exported network cannot be read ({reason}); {DAMAGED}") from None


def restore(network: CompactNetwork, model: nn.Module) -> nn.Module:
    """Turn a freshly built and converted network into the exported one, in place.

    Args:
        network: What :func:`read_compact` returned.
        model: A network with the layers and quantizers of its trial.

    Returns:
        ``model``, which computes what the file holds; batch norms that were folded are gone.

    Raises:
        ValueError: The file belongs to another network.
    """
    try:
        without_norms(model, network.folded)
    except AttributeError as error:
        raise ValueError(f"the exported network belongs to another one: {error}") from None
    tensors = dict(network.kept)
    for name, (codes, levels) in network.coded.items():
        tensors[f"{name}.weight.codes"] = pack(codes, bits_for(levels.number))
        tensors[f"{name}.weight.codebook"] = levels.codebook()
        tensors[f"{name}.weight.shape"] = torch.tensor(codes.shape)
    own = float_state(model)
    tensors |= {name: part for name, part in own.items() if name.split(".")[-1] == COUNTER}
    return load_deployed(tensors, model)


def _coded(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Levels]:
    codebook, shape = tensors[f"{name}.weight.codebook"], tensors[f"{name}.weight.shape"]
    own = tuple(int(size) for size in shape.tolist())
    decoded_weight(name, tensors, own)  # refuses what does not fit together
    codes = unpack(tensors[f"{name}.weight.codes"], bits_for(codebook.shape[-1]), own)
    codes, codebook = rising(codes, codebook)
    return codes, few_numbers(codes, codebook)


def _levels(name: str, count: int, progression: Any, floats: dict[str, Tensor]) -> Levels:
    parts = {part: floats.pop(f"{name}.weight.{part}", None) for part in PARTS}
    if progression is not None:
        first, stride, divisor = map(int, progression)
        progression = first, stride, divisor
    return Levels(count, progression=progression, **parts)


def _cut(floats: Tensor, shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    sizes = [math.prod(shape) for shape in shapes.values()]
    pieces = torch.split(floats, sizes)
    return {
        name: piece.reshape(shape)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }
