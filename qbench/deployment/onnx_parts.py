"""A layer's weight and input as ONNX operators: what a network computes with while it is exported.

    weight, even levels    integers int8 or uint8, DequantizeLinear a channel
    weight, other levels   codes uint8, Gather from the level values
    input, even levels and edges, 0 a level    Clip, QuantizeLinear, DequantizeLinear
    input, any other       codes by halving the list of thresholds (Gather, GreaterOrEqual), then
                           DequantizeLinear where levels are even, Gather where not
    input, of a method that looks at the whole input before it rounds: the method's own operators

Even is decided from the levels and thresholds, not from the method (``levels.uniform_grid``).
QuantizeLinear rounds ties to even and divides in float32, so that an input within a few units of
the last place of an edge may take the neighbouring code; halving is exact, and is also taken where
0, of which networks have many, is an edge.
"""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.deployment.levels import TOLERANCE, Grid, rising, uniform_grid, used_levels
from qbench.deployment.packing import bits_for
from qbench.deployment.staircase import AXIS, Staircase

__all__ = ["coded_weight", "stepped_input"]

SAFE = 64
"""The largest |integer| in int8: kernels without VNNI add two products with uint8 inputs in 16
bits, and 2 x 255 x 64 is the most that fits. Larger ones are uint8, whose kernels are exact."""
CENTRE = 128


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, scale: Tensor, zero: Tensor, axis: int) -> Tensor:
        shape = [1] * whole.ndim
        if scale.ndim:
            shape[axis] = -1
        return (whole.int() - zero.int().view(shape)).float() * scale.view(shape)

    @staticmethod
    def symbolic(g: Any, whole: Any, scale: Any, zero: Any, axis: int) -> Any:
        return g.op("DequantizeLinear", whole, scale, zero, axis_i=axis)


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        return ((x / scale).round() + zero).clamp(0, 255).to(torch.uint8)

    @staticmethod
    def symbolic(g: Any, x: Any, scale: Any, zero: Any) -> Any:
        return g.op("QuantizeLinear", x, scale, zero)


def _dequantized(whole: Tensor, scale: Tensor, zero: Tensor, axis: int) -> Tensor:
    value: Tensor = _Dequantize.apply(whole, scale, zero, axis)  # type: ignore[no-untyped-call]
    return value


class _Part(nn.Module):
    """Constants by name, which become initialisers of the file."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.contiguous())

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class _EvenWeight(_Part):
    """Integers times a scale."""

    def deployed(self, weight: Tensor) -> Tensor:
        return _dequantized(self.integers, self.scale, self.zero_point, 0)


class _ShiftedWeight(_EvenWeight):
    """Codes times a scale, plus an offset: where 0 is no multiple of half a step from a level."""

    def deployed(self, weight: Tensor) -> Tensor:
        value: Tensor = super().deployed(weight) + self.offset
        return value


class _GatheredWeight(_Part):
    """Level values at codes."""

    def deployed(self, weight: Tensor) -> Tensor:
        value: Tensor = self.levels[self.codes.long() + self.rows]
        return value


def coded_weight(codes: Tensor, codebook: Tensor, *, fused: bool = True) -> nn.Module:
    """What takes the place of a layer's weight quantizer in the export.

    Args:
        codes: int64, of the weight's shape.
        codebook: Level values ``[levels]`` or ``[channels, levels]``, in any order.
        fused: Whether a runtime may see the weight as quantized, and compute the layer on integers.
    """
    codes, codebook = rising(codes, codebook)  # a folded batch norm may turn a channel's sign
    grid = uniform_grid(codebook, used_levels(codes, codebook))
    side = [-1] + [1] * (codes.ndim - 1)
    if grid is None:
        many = codebook.ndim == 2
        rows = torch.arange(len(codes) if many else 1) * codebook.shape[-1]
        return _GatheredWeight(
            codes=codes.to(torch.uint8), levels=codebook.flatten(), rows=rows.view(side)
        )
    for divisor in (1, 2) if fused else ():
        first = _whole(grid, divisor)
        if first is None:
            continue
        integers = codes * divisor + first.view(side)
        scale, low, high = grid.step / divisor, int(integers.min()), int(integers.max())
        if low >= -SAFE and high <= SAFE:
            return _EvenWeight(**_integers(integers, scale, 0, torch.int8))
        if low >= -CENTRE and high < CENTRE:
            return _EvenWeight(**_integers(integers + CENTRE, scale, CENTRE, torch.uint8))
    shifted = _integers(codes, grid.step, 0, torch.uint8)
    return _ShiftedWeight(**shifted, offset=grid.offset.float().view(side))


def _integers(whole: Tensor, scale: Tensor, zero: int, kind: torch.dtype) -> dict[str, Tensor]:
    scales = scale.float() if len(scale) > 1 else scale.float()[0]
    zeros = torch.full_like(scales, zero).to(kind)
    return {"integers": whole.to(kind), "scale": scales, "zero_point": zeros}


def _whole(grid: Grid, divisor: int) -> Tensor | None:
    """The lowest level in units of a step / divisor, int64 ``[rows]``, if it is a whole number."""
    if bool((grid.step == 0).any()):
        return None
    unit = grid.step / divisor
    first = (grid.offset / unit).round()
    largest = torch.maximum(grid.offset.abs(), (grid.offset + grid.step * (grid.number - 1)).abs())
    exact = (grid.offset - first * unit).abs() <= TOLERANCE * largest
    return first.long() if bool(exact.all()) else None


class _RoundedInput(_Part):
    """Clip, divide by a scale, round, multiply by a scale."""

    def deployed(self, x: Tensor) -> Tensor:
        clipped = x.clamp(self.low, self.high)
        codes: Tensor = _Quantize.apply(clipped, self.edge_step, self.edge_zero)  # type: ignore[no-untyped-call]
        return _dequantized(codes, self.scale, self.zero_point, AXIS)


class _SearchedInput(_Part):
    """The number of thresholds that an element reaches, found by halving, then its level."""

    def __init__(self, bits: int, **tensors: Tensor) -> None:
        super().__init__(**tensors)
        self.bits = bits

    def places(self, x: Tensor) -> Tensor:
        """Code plus the channel's start in the tables."""
        place: Tensor = self.rows
        for bit in reversed(range(self.bits)):
            reached = x >= self.thresholds[place + (2**bit - 1)]
            place = place + reached.long() * 2**bit
        return place

    def deployed(self, x: Tensor) -> Tensor:
        value: Tensor = self.levels[self.places(x)]
        return value


class _SearchedEvenInput(_SearchedInput):
    """As before, with the level by DequantizeLinear."""

    def deployed(self, x: Tensor) -> Tensor:
        codes = (self.places(x) - self.rows).to(torch.uint8)
        value: Tensor = _dequantized(codes, self.scale, self.zero_point, AXIS) + self.offset
        return value


def stepped_input(found: Staircase, dimensions: int) -> nn.Module:
    """What takes the place of a layer's activation quantizer in the export.

    Args:
        found: Thresholds and levels of the quantizer.
        dimensions: Of the input.
    """
    grid = uniform_grid(found.codebook)
    if grid is not None:
        rounded = _rounded(found, grid)
        if rounded is not None:
            return rounded
    count = found.codebook.shape[-1]
    bits, channels = bits_for(count), max(len(found.thresholds), found.codebook.numel() // count)
    width = 2**bits
    thresholds = torch.full((channels, width), torch.inf)
    thresholds[:, : count - 1] = found.thresholds
    side = [1, -1] + [1] * (dimensions - 2)
    rows = (torch.arange(channels) * width).view(side)
    search = {"thresholds": thresholds.flatten(), "rows": rows}
    if grid is None:
        levels = torch.zeros(channels, width)
        levels[:, :count] = found.codebook
        return _SearchedInput(bits, **search, levels=levels.flatten())
    many = len(grid.step) > 1
    scale = grid.step.float() if many else grid.step.float()[0]
    offset = grid.offset.float().view(side)
    zero = torch.zeros_like(scale).to(torch.uint8)
    return _SearchedEvenInput(bits, **search, scale=scale, zero_point=zero, offset=offset)


def _rounded(found: Staircase, grid: Grid) -> nn.Module | None:
    """QuantizeLinear and DequantizeLinear, if the edges are even, and 0 is a level and no edge."""
    edges, first = found.thresholds.double(), _whole(grid, 1)
    if len(edges) > 1 or len(grid.step) > 1 or first is None or not bool(edges.isfinite().all()):
        return None
    row = edges[0]
    # One edge lies half a step from 0, which is then the level on its other side.
    step = (row[-1] - row[0]) / (len(row) - 1) if len(row) > 1 else 2 * row[0].abs()
    if step <= 0:
        return None
    lowest = (row[0] / step - 0.5).round()
    even = (torch.arange(len(row)).double() + 0.5 + lowest) * step
    largest = row.abs().max() + step
    inside = -255 <= int(lowest) <= 0 and -255 <= int(first) <= 0
    if not inside or bool(((row - even).abs() > TOLERANCE * largest).any()):
        return None
    low, high = lowest * step, (lowest + grid.number - 1) * step
    return _RoundedInput(
        low=low.float(),
        high=high.float(),
        edge_step=step.float(),
        edge_zero=(-lowest).to(torch.uint8),
        scale=grid.step[0].float(),
        zero_point=(-first[0]).to(torch.uint8),
    )
