"""Is it really k-bit? What a deployed network's file holds, and what the network makes of it."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from qbench.deployment.cost import deployed_cost
from qbench.deployment.load import decoded_weight, read_deployed
from qbench.deployment.packing import bits_for, unpack
from qbench.models.evaluation import evaluating
from qbench.models.layers import QuantLayer, quantized_layers

__all__ = ["TensorAudit", "audit", "audit_report", "computed", "refusal"]


class TensorAudit(NamedTuple):
    """What one tensor really holds."""

    name: str
    """The layer of codes and inputs; the tensor's own name where it stayed float."""
    kind: Literal["weight", "input", "float"]
    """A weight stored as codes, a layer's quantized input, or what is stored as it is."""
    elements: int
    bits: int
    """Bits of a stored element; of an input, those that its codebook needs."""
    levels: int
    """Levels of the codebook (a channel); 0 where there is none."""
    codes_used: int
    """How many different codes there are; 0 where there are none."""
    values: int
    """How many different values there are, in a channel where channels have codebooks of their own;
    0 of what stayed float."""
    channel_axis: int | None
    """The axis whose slices have a codebook each, if any."""
    bytes: int
    """On disk, with the codebook and the shape; 0 of inputs."""


def audit(data: bytes | Path) -> list[TensorAudit]:
    """Count what a deployed network's file holds; nothing but the file is asked.

    Args:
        data: ``deployed.safetensors``, its bytes or its path.

    Returns:
        Weights stored as codes, then what stayed float, each in the order of names.

    Raises:
        ValueError: The file is damaged, or was not written by qbench.
    """
    tensors = read_deployed(data if isinstance(data, bytes) else Path(data).read_bytes())
    ending = ".weight.codebook"
    coded = sorted(key.removesuffix(ending) for key in tensors if key.endswith(ending))
    parts = {f"{name}.weight.{part}" for name in coded for part in ("codes", "codebook", "shape")}
    return [_coded(name, tensors) for name in coded] + [
        TensorAudit(
            name=name,
            kind="float",
            elements=part.numel(),
            bits=8 * part.element_size(),
            levels=0,
            codes_used=0,
            values=0,
            channel_axis=None,
            bytes=_size(part),
        )
        for name, part in sorted(tensors.items())
        if name not in parts
    ]


def computed(
    model: nn.Module, found: Iterable[TensorAudit], images: Tensor | None = None
) -> list[TensorAudit]:
    """Count again in a loaded network: the weights and inputs that its layers compute with.

    Args:
        model: What ``load_deployed`` returned for the same file.
        found: What :func:`audit` returned.
        images: ``[batch, channels, height, width]``, on the model's device, to see inputs with.

    Returns:
        The same rows with the values of the network's weights; with images, also one row for each
        quantized input.
    """
    layers = quantized_layers(model)
    rows = []
    with evaluating(model, "deployed"):
        for row in found:
            if row.kind == "weight":
                layer = model.get_submodule(row.name)
                if not isinstance(layer, QuantLayer):
                    raise ValueError(f"'{row.name}' is no quantized layer of this network")
                row = row._replace(values=_distinct(layer.quantized_weight(), row.channel_axis))
            rows.append(row)
        return rows if images is None else rows + _inputs(model, layers, images)


def refusal(found: Iterable[TensorAudit], claimed_bits: int, activation_bits: int = 32) -> str:
    """Why the network is not of so few bits, in a sentence; empty if it is.

    Args:
        found: What :func:`audit` or :func:`computed` returned.
        claimed_bits: Of weights; 32 claims nothing.
        activation_bits: Of inputs; 32 claims nothing.
    """
    rows = list(found)
    if claimed_bits < 32 and not any(row.kind == "weight" for row in rows):
        return f"it claims {claimed_bits}-bit weights and stores none as codes"
    wrong = []
    for kind, bits in (("weight", claimed_bits), ("input", activation_bits)):
        for row in rows:
            if row.kind == kind and max(row.values, row.levels) > 2**bits:
                wrong.append((row, bits))
    if not wrong:
        return ""
    row, bits = max(wrong, key=lambda one: (one[0].values, one[0].levels))
    has = (
        f"takes {row.values} different values"
        if row.values > 2**bits
        else f"has a codebook of {row.levels} levels"
    )
    where = " in a channel" if row.channel_axis is not None else ""
    others = f", and so do {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return (
        f"the {row.kind} of layer '{row.name}' {has}{where}, "
        f"{bits} bits stand for {2**bits}{others}"
    )


def audit_report(
    data: bytes, model: nn.Module, images: Tensor, weight_bits: int, activation_bits: int
) -> dict[str, Any]:
    """What ``audit.json`` of a trial holds.

    Args:
        data: The bytes of ``deployed.safetensors``.
        model: The network loaded from them.
        images: A few, on the model's device.
        weight_bits: What the trial claims.
        activation_bits: Likewise.

    Returns:
        ``refusal``, a sentence or empty; ``coded_weights`` and ``coded_bytes``, ``float_numbers``
        and ``float_bytes``, the sums; ``tensors``, a row each; ``cost``, the members of
        :class:`qbench.deployment.cost.DeployedCost`.
    """
    rows = computed(model, audit(data), images)
    reason = refusal(rows, weight_bits, activation_bits)
    if not reason and activation_bits < 32 and not any(row.kind == "input" for row in rows):
        reason = f"it claims {activation_bits}-bit inputs and quantizes none"
    coded = [row for row in rows if row.kind == "weight"]
    kept = [row for row in rows if row.kind == "float"]
    return {
        "refusal": reason,
        "coded_weights": sum(row.elements for row in coded),
        "coded_bytes": sum(row.bytes for row in coded),
        "float_numbers": sum(row.elements for row in kept),
        "float_bytes": sum(row.bytes for row in kept),
        "tensors": [row._asdict() for row in rows],
        "cost": deployed_cost(
            model,
            images[:1],
            {row.name: row.bits for row in coded},
            {row.name: row.bits for row in rows if row.kind == "input"},
        )._asdict(),
    }


def _coded(name: str, tensors: dict[str, Tensor]) -> TensorAudit:
    parts = [tensors.get(f"{name}.weight.{part}") for part in ("codes", "codebook", "shape")]
    packed, codebook, shape = parts
    if packed is None or codebook is None or shape is None:
        raise ValueError(
            f"the codes or the shape of layer '{name}' are missing; run its trial again"
        )
    own = tuple(int(size) for size in shape.tolist())
    weight = decoded_weight(name, tensors, own)
    levels = codebook.shape[-1]
    codes = unpack(packed, bits_for(levels), own)
    channel_axis = 0 if codebook.ndim == 2 else None
    return TensorAudit(
        name=name,
        kind="weight",
        elements=codes.numel(),
        bits=bits_for(levels),
        levels=levels,
        codes_used=_distinct(codes, None),
        values=_distinct(weight, channel_axis),
        channel_axis=channel_axis,
        bytes=_size(packed) + _size(codebook) + _size(shape),
    )


def _inputs(model: nn.Module, layers: dict[str, QuantLayer], images: Tensor) -> list[TensorAudit]:
    rows: dict[str, TensorAudit] = {}

    def count(name: str, layer: QuantLayer, x: Tensor) -> None:
        quantizer = layer.activation_quantizer
        if quantizer is None:
            return
        codes, codebook = quantizer.codes(x)
        levels = codebook.shape[-1]
        channel_axis = quantizer.channel_axis if codebook.ndim == 2 else None
        row = TensorAudit(
            name=name,
            kind="input",
            elements=x.numel(),
            bits=bits_for(levels),
            levels=levels,
            codes_used=_distinct(codes, None),
            values=_distinct(layer.quantized_input(x), channel_axis),
            channel_axis=channel_axis,
            bytes=0,
        )
        # A layer that is called twice is as wide as its widest input.
        rows[name] = max(rows.get(name, row), row, key=lambda one: one.values)

    with ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(
                lambda part, inputs, name=name: count(name, part, inputs[0])
            )
            stack.callback(hook.remove)
        model(images)
    return list(rows.values())


def _distinct(values: Tensor, channel_axis: int | None) -> int:
    """How many different numbers there are, in the channel that has the most."""
    if not values.numel():
        return 0
    rows = values.reshape(1, -1)
    if channel_axis is not None:
        rows = values.movedim(channel_axis, 0).flatten(1)
    ascending = rows.sort(1).values
    return 1 + int((ascending[:, 1:] != ascending[:, :-1]).sum(1).max())


def _size(part: Tensor) -> int:
    return part.numel() * part.element_size()
