"""How far a training step is from what this machine could do at best.

The floor of a step is a sum over the operations that no implementation of the same network can
leave out, each at the machine's own best rates:

    floor = sum over operations of max(FLOP / rate, bytes / bandwidth)

``rate`` is that of the fastest float32 product, of square matrices or inside a convolution: on
some processors the library of the one is quicker, on others that of the other. ``bandwidth`` is
that of a copy of buffers far larger than the caches, bytes read and written counted. The
operations, with everything float32 and each tensor read or written once an operation:

convolution, linear   forward: 2 FLOP a multiply-add with a value of the input, none with the zeros
                      around it (of 3x3 taps on 8x8 pixels 16 % lie there); reads input and weight,
                      writes the output.
                      backward: as many again for the weight (reads input and output gradient,
                      writes the weight's), and for the input but in the first layer.
batch norm            with the ReLU and the addition that follow: no FLOP; forward reads its input
                      and writes its output, backward reads input and output gradient and writes
                      the input's.
optimizer             SGD with momentum: reads weight, gradient and momentum, writes two of them.

Not counted: quantizers, the loss, pooling, the batch norm's second pass over its input, layout
changes, the input pipeline. Most products are smaller and less regular than the fastest, so that 1
is out of reach; single layers may be quicker than their part of it, where a batch lies in a cache,
or an algorithm needs fewer multiplications than the plain convolution. Rates and steps are timed in
one run, in turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qbench.bench.cases import Case, cases, images_of, make, models_of
from qbench.bench.outcome import Outcome, Setting, Table
from qbench.bench.step import rounds_of
from qbench.bench.timing import Timing, measure, watch_of
from qbench.models.build import build_model
from qbench.study.schema import Component

__all__ = ["Limits", "Operation", "floor_seconds", "limits_of", "operations", "run"]

_FLOAT = 4  # bytes
_STEPS = 390  # an epoch of 50,000 images in batches of 128
_SHAPES = ((16, 32), (32, 16), (64, 8), (256, 16))
"""Channels and side of ResNet-20's stages, and of a layer of VGG-small that is all products."""


@dataclass(frozen=True)
class Operation:
    """One part of a step that must be done."""

    layer: str
    kind: str
    flops: float
    bytes: float

    def seconds(self, rate: float, bandwidth: float) -> float:
        """At best, with ``rate`` in FLOP/s and ``bandwidth`` in byte/s."""
        return max(self.flops / rate, self.bytes / bandwidth)


@dataclass(frozen=True)
class Limits:
    """What the machine does at best."""

    products: dict[int, float]
    """FLOP/s of a product of square matrices, by their side."""
    bandwidth: float
    """byte/s of a copy, read and written."""
    convolutions: dict[str, float]
    """FLOP/s of a 3x3 convolution forward, by its shape."""

    @property
    def rate(self) -> float:
        """The fastest."""
        return max(*self.products.values(), *self.convolutions.values())


def operations(model: str, batch: int, side: int = 32) -> list[Operation]:
    """What a step of a registered network must do; nothing is computed.

    Args:
        model: The network's name.
        batch: Images of a batch.
        side: Height and width of an image.
    """
    with torch.device("meta"):
        network = build_model(Component(name=model), channels=3, classes=10, size=side)
        found: list[Operation] = []
        names = {part: name for name, part in network.named_modules()}

        def see(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found.extend(_of_layer(names[layer], layer, inputs[0], output, first=not found))

        for layer in names:
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.register_forward_hook(see)
        network(torch.empty(batch, 3, side, side))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return [*found, Operation("", "optimizer", 0.0, 5.0 * _FLOAT * parameters)]


def _of_layer(name: str, layer: nn.Module, x: Tensor, y: Tensor, *, first: bool) -> list[Operation]:
    if isinstance(layer, nn.BatchNorm2d):
        return [
            Operation(name, "batch norm forward", 0.0, 2.0 * _FLOAT * x.numel()),
            Operation(name, "batch norm backward", 0.0, 3.0 * _FLOAT * x.numel()),
        ]
    weight: Any = layer.weight
    flops = 2.0 * y.numel() * weight[0].numel()
    if isinstance(layer, nn.Conv2d):
        flops *= _share_inside(layer, x.shape[2:])
    moved = float(_FLOAT * (x.numel() + weight.numel() + y.numel()))
    kinds = ["forward", "weight gradient", *([] if first else ["input gradient"])]
    return [Operation(name, kind, flops, moved) for kind in kinds]


def _share_inside(layer: nn.Conv2d, sides: Sequence[int]) -> float:
    """The share of a convolution's taps that meet the image, not the zeros around it."""
    share = 1.0
    for along, side in enumerate(sides):
        kernel, padding = layer.kernel_size[along], int(layer.padding[along])
        first = range(-padding, side + padding - kernel + 1, layer.stride[along])
        inside = sum(min(at + kernel, side) - max(at, 0) for at in first)
        share *= inside / (kernel * len(first))
    return share


def floor_seconds(found: Sequence[Operation], rate: float, bandwidth: float) -> float:
    """The floor of a step, in seconds."""
    return sum(operation.seconds(rate, bandwidth) for operation in found)


def _probes(setting: Setting) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """What is timed for the machine's rates, and how much each probe does."""
    sides = (64, 128) if setting.quick else (256, 512, 1024, 2048)
    if setting.device != "cpu":
        sides = (*sides, 8192)
    calls: dict[str, Callable[[], object]] = {}
    amounts: dict[str, float] = {}
    for side in sides:
        a, b = (torch.randn(side, side, device=setting.device) for _ in range(2))
        out = torch.empty_like(a)
        times = max(1, (2048 // side) ** 3 // 4)
        calls[f"mm {side}"] = _repeated(times, torch.mm, a, b, out=out)
        amounts[f"mm {side}"] = 2.0 * side**3 * times
    numbers = 2**16 if setting.quick else 2**26
    source = torch.randn(numbers, device=setting.device)
    calls["copy"] = _repeated(1, torch.empty_like(source).copy_, source)
    amounts["copy"] = 2.0 * _FLOAT * numbers
    batch = 2 if setting.quick else 128
    for channels, side in _SHAPES:
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=setting.device)
        x = torch.randn(batch, channels, side, side, device=setting.device)
        x = x.to(memory_format=torch.channels_last)
        layer = layer.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
        name = f"{channels} channels, {side}x{side}"
        calls[name] = _repeated(1, layer, x)
        amounts[name] = 2.0 * x.numel() * 9 * channels * _share_inside(layer, (side, side))
    return calls, amounts


def _repeated(times: int, call: Callable[..., Any], *given: Any, **named: Any) -> Callable[[], Any]:
    def repeated() -> None:
        for _ in range(times):
            call(*given, **named)

    return repeated


def limits_of(timing: Timing, amounts: dict[str, float]) -> Limits:
    """Rates from the probes' times."""
    rates = {name: amount / timing.seconds[name] for name, amount in amounts.items()}
    return Limits(
        {int(name[3:]): rate for name, rate in rates.items() if name.startswith("mm ")},
        rates["copy"],
        {name: rate for name, rate in rates.items() if "channels" in name},
    )


def _distances(model: str, setting: Setting) -> tuple[Table, Limits, float]:
    """The steps of one network over their floor, and the limits of the same run."""
    batch, side = (4, 8) if setting.quick else (128, 32)
    wanted: list[Case] = cases(model, batch)
    images = images_of(batch, 1, side)
    made = {case.name: make(case, images, setting.device) for case in wanted}
    probes, amounts = _probes(setting)
    timing = measure(
        probes | {name: one.step for name, one in made.items()},
        rounds=rounds_of(model, setting),
        watch=watch_of(setting.device),
        twice="float",
    )
    limits, found = limits_of(timing, amounts), operations(model, batch, side)
    floor = floor_seconds(found, limits.rate, limits.bandwidth)
    flops = sum(operation.flops for operation in found)
    rows = tuple(
        (case.quantizer, case.bits, 1000 * timing.seconds[case.name],
         timing.seconds[case.name] / floor, flops / timing.seconds[case.name] / 1e9)
        for case in wanted
    )  # fmt: skip
    table = Table(
        f"Distance to the floor of {model}, batch {batch}",
        ("quantizer", "bits", "ms a step", "times the floor", "GFLOP/s"),
        rows,
        f"Floor: {1000 * floor:.4g} ms a step, {_STEPS * floor:.4g} s an epoch of {_STEPS} steps, "
        f"at {limits.rate / 1e9:.4g} GFLOP/s and {limits.bandwidth / 1e9:.4g} GB/s. "
        f"A/A ratio {timing.error:.3f}.",
    )
    return table, limits, timing.seconds["float"] / floor


def run(setting: Setting) -> Outcome:
    """Measure the machine, the floors, and how far the methods are from them."""
    found = {model: _distances(model, setting) for model in models_of(setting)}
    (_, limits, distance), *_ = found.values()
    rows: list[tuple[str, float, str]] = [
        (f"matrix product, {side}x{side}", rate / 1e9, "GFLOP/s")
        for side, rate in limits.products.items()
    ]
    rows.append(("copy, read and written", limits.bandwidth / 1e9, "GB/s"))
    rows += [
        (f"3x3 convolution forward, {shape}", rate / 1e9, "GFLOP/s")
        for shape, rate in limits.convolutions.items()
    ]
    machine = Table("This machine's limits, float32", ("what", "rate", "unit"), tuple(rows))
    tables = (machine, *(table for table, _, _ in found.values()))
    return Outcome(tables, {"floor_float": distance})
