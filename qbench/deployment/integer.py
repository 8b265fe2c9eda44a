"""A layer computed on integers: what a chip without floating point would do with the codes.

Where the levels of weight and input are even, w = a + s i and x = b + t j with codes i and j, and

    sum w x = s t sum i j + s b sum i + a t sum j + a b n,

four sums of integers over the n positions inside the image; padding adds to none. Where 0 is a
level, or lies midway between two (+-1), codes are taken as whole multiples of the step or of half
of it, a = b = 0, and one sum is left. One-bit weights and inputs of this kind need no products:

    sum w x = s t (2 popcount(xnor(i, j)) - n)

What is exact: the sums, in 64-bit integers. Their scales are multiplied in float64. So the result
differs from the float64 value of the deployed layer by what its float32 levels differ from an even
grid, d(w) and d(x) at most, and by float64's own rounding:

    |difference| <= n (d(w) max|x| + max|w| d(x) + d(w) d(x)) + 8 n 2^-53 max|w| max|x|
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.deployment.levels import TOLERANCE, rising, uniform_grid, used_levels
from qbench.models.layers import QuantLayer

__all__ = ["IntegerForm", "integer_form", "integer_layer", "popcount_layer"]

WORD = 8  # codes of one bit that numpy counts at once


class IntegerForm(NamedTuple):
    """A tensor as ``offset + scale * whole``."""

    whole: Tensor
    """int64, of the tensor's shape."""
    scale: Tensor
    """float64, of a shape that multiplies the tensor."""
    offset: Tensor
    """Likewise; 0 where integers alone are enough."""

    @property
    def values(self) -> Tensor:
        """What the integers stand for, float64."""
        return self.offset + self.scale * self.whole

    @property
    def centred(self) -> bool:
        """Whether the offset is 0."""
        return not bool(self.offset.any())


def integer_form(codes: Tensor, codebook: Tensor, axis: int) -> IntegerForm | None:
    """A quantized tensor on integers, if its levels are even.

    Args:
        codes: int64.
        codebook: ``[levels]`` or ``[channels, levels]``, a row for each slice of ``axis``.
        axis: Of channels.
    """
    codes, codebook = rising(codes.transpose(0, axis), codebook)
    # A weight's codes are all there are; other inputs may have other codes.
    grid = uniform_grid(codebook, used_levels(codes, codebook) if axis == 0 else None)
    codes = codes.transpose(0, axis)
    if grid is None:
        return None
    shape = [1] * codes.ndim
    shape[axis] = -1
    step, offset = grid.step.view(shape), grid.offset.view(shape)
    largest = torch.maximum(offset.abs(), (offset + step * (grid.number - 1)).abs())
    for divisor in (1, 2):
        unit = step / divisor
        first = (offset / unit.where(unit > 0, 1.0)).round()
        if bool(((offset - first * unit).abs() <= TOLERANCE * largest).all()):
            return IntegerForm(first.long() + divisor * codes, unit, torch.zeros_like(offset))
    return IntegerForm(codes, step, offset)


@torch.no_grad()
def integer_layer(layer: QuantLayer, x: Tensor) -> Tensor | None:
    """A deployed layer's output from integer sums, float64; nothing where levels are not even.

    Args:
        layer: A quantized convolution or linear layer with both quantizers.
        x: Its input, before it is quantized.

    Raises:
        ValueError: A scale of the input differs between channels, which no single sum allows.
    """
    forms = _forms(layer, x)
    if forms is None:
        return None
    weight, value = forms
    if value.scale.numel() > 1 or value.offset.numel() > 1:
        raise ValueError("the input's levels differ between channels: sums need one scale")
    side = [1, -1] + [1] * (layer.weight.ndim - 2)
    s, a = weight.scale.view(-1), weight.offset.view(-1)
    s, a = (one.view(side) if one.numel() > 1 else one for one in (s, a))
    t, b = value.scale.view(-1), value.offset.view(-1)
    ones, inside = torch.ones_like(weight.whole), torch.ones_like(value.whole)
    result = s * t * _sum(layer, value.whole, weight.whole)
    if bool(b.any()):
        result = result + s * b * _sum(layer, inside, weight.whole)
    if bool(a.any()):
        result = result + a * t * _sum(layer, value.whole, ones)
    if bool(a.any()) and bool(b.any()):
        result = result + a * b * _sum(layer, inside, ones)
    return _with_bias(layer, result)


@torch.no_grad()
def popcount_layer(layer: QuantLayer, x: Tensor) -> Tensor | None:
    """A deployed layer of one-bit weights and inputs by XNOR and counting bits, float64.

    Args:
        layer: A quantized convolution without groups, or a linear layer, with both quantizers.
        x: Its input, before it is quantized.

    Returns:
        The output; nothing where a tensor has other values than +-s.
    """
    forms = _forms(layer, x)
    if forms is None or not all(form.centred and _is_signs(form) for form in forms):
        return None
    weight, value = forms
    bits, inside = _columns(layer, (value.whole > 0).long()), _columns(layer, value.whole.abs())
    rows = (weight.whole > 0).flatten(1)
    words = _packed(rows)[:, None, :]  # [outputs, 1, words]
    agree = ~(words ^ _packed(bits)[None]) & _packed(inside)[None]  # [outputs, places, words]
    count = torch.from_numpy(np.bitwise_count(agree).sum(2, dtype=np.int64))
    sums = 2 * count - inside.sum(1)  # [outputs, places]
    shape = _sum(layer, value.whole, weight.whole).shape
    sums = sums.view(shape[1], shape[0], *shape[2:]).transpose(0, 1)
    side = [1, -1] + [1] * (layer.weight.ndim - 2)
    scale = weight.scale.view(-1)
    result = (scale.view(side) if scale.numel() > 1 else scale) * value.scale.view(-1) * sums
    return _with_bias(layer, result)


def _forms(layer: QuantLayer, x: Tensor) -> tuple[IntegerForm, IntegerForm] | None:
    if layer.weight_quantizer is None or layer.activation_quantizer is None:
        raise ValueError("a layer on integers needs both quantizers")
    weight = integer_form(*layer.weight_quantizer.codes(layer.weight), axis=0)
    value = integer_form(*layer.activation_quantizer.codes(x), axis=1)
    return None if weight is None or value is None else (weight, value)


def _with_bias(layer: QuantLayer, result: Tensor) -> Tensor:
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, Tensor):
        return result
    return result + bias.double().view(1, -1, *[1] * (result.ndim - 2))


def _is_signs(form: IntegerForm) -> bool:
    return bool((form.whole.abs() == 1).all())


def _sum(layer: QuantLayer, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's sums of products of integers, int64."""
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(
            _padded(layer, x), weight, None, layer.stride, 0, layer.dilation, layer.groups
        )
    return F.linear(x, weight)


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    sides = layer._reversed_padding_repeated_twice
    if layer.padding_mode == "zeros":
        return F.pad(x, sides)
    padded = F.pad(x.double(), sides, mode=layer.padding_mode)  # whole numbers stay whole
    return padded.long()


def _columns(layer: QuantLayer, x: Tensor) -> Tensor:
    """What each place of the output sees, ``[batch * places, weights of a channel]``."""
    if not isinstance(layer, nn.Conv2d):
        return x
    if layer.groups > 1:
        raise ValueError("counting bits is written for convolutions without groups")
    columns = F.unfold(
        _padded(layer, x).double(), layer.kernel_size, layer.dilation, 0, layer.stride
    )
    return columns.transpose(1, 2).flatten(0, 1).long()


def _packed(bits: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.packbits(bits.numpy().astype(np.uint8), axis=1)
