"""Quantizers as plain autograd graphs of the papers' equations: what a first program would be.

Written from the equations, without closed forms, fused kernels or shared work, and equal to the
methods' own classes in value and gradient up to float32 rounding, which a test shows. So the
paper-style trial trains the same network, and differs in nothing but the way it computes.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from qbench.models.layers import QuantConv2d, quantized_layers
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.daq import DAQ
from qbench.quantizers.lsq import LSQ
from qbench.quantizers.ste import GAUSSIAN_CLIP, STE

__all__ = ["NAIVE", "NaiveConv2d", "NaiveDAQ", "NaiveLSQ", "NaiveSTE", "naive_network"]


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """``value`` with the gradient of ``x``: ``x + (value - x)``, the bracket a constant."""
    return x + (value - x).detach()


class NaiveSTE(nn.Module):
    """Bengio et al. 2013; the scale of a 1-bit weight is XNOR-Net's, ``mean|w|`` of a channel."""

    def __init__(self, like: STE) -> None:
        """Take bits and clip of ``like``."""
        super().__init__()
        self.bits, self.on_weight = like.bit_width, like.target == "weight"
        self.high = 1.0 if self.on_weight else like.high.item()

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x``."""
        steps = 2**self.bits - 1
        if not self.on_weight:
            clipped = torch.clamp(x, 0.0, self.high)
            index = torch.floor(clipped / self.high * steps + 0.5)
            return straight_through(clipped, index / steps * self.high)
        scale = x.abs().mean(dim=(1, 2, 3), keepdim=True)
        if self.bits == 1:
            return straight_through(x, scale * torch.where(x >= 0, 1.0, -1.0))
        high = scale * (GAUSSIAN_CLIP[self.bits - 1] / GAUSSIAN_CLIP[0])
        unit = torch.clamp((x + high) / (2 * high), 0.0, 1.0)
        return straight_through(x, (2 * torch.floor(unit * steps + 0.5) / steps - 1) * high)


class NaiveLSQ(nn.Module):
    """Esser et al. 2020, equations 1 to 3."""

    def __init__(self, like: LSQ) -> None:
        """Take step and range of ``like``."""
        super().__init__()
        self.step = nn.Parameter(like.step.detach().clone())
        self.lowest, self.highest = like.lowest.item(), like.highest.item()
        self.on_weight = like.target == "weight"

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x``."""
        count = x.numel() if self.on_weight else x[0].numel()
        factor = 1 / math.sqrt(count * self.highest)
        step = straight_through(self.step * factor, self.step)
        value = torch.clamp(x / step, self.lowest, self.highest)
        return straight_through(value, torch.round(value)) * step


class NaiveDAQ(nn.Module):
    """Kim et al. 2021: a soft arg-max over the two levels around a value, controlled temperature.

    The output scale is the layer's, after its convolution, as in the paper.
    """

    def __init__(self, like: DAQ) -> None:
        """Take interval and slope of ``like``."""
        super().__init__()
        self.upper = nn.Parameter(like.upper.detach().clone())
        lower = like.lower
        self.lower = None if lower is None else nn.Parameter(lower.detach().clone())
        self.steps: int = like.steps
        self.kernel, self.gamma = like.kernel, GAMMA

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x`` to [-1, 1] if it is a weight, else to [0, 1]."""
        if self.lower is None:
            place = torch.clamp(self.steps * x / self.upper, 0, self.steps)
            return self._round(place) / self.steps
        normal = (x - x.mean().detach()) / x.std().detach()
        place = self.steps * (normal - self.lower) / (self.upper - self.lower)
        index = self._round(torch.clamp(place, 0, self.steps))
        return (2 * index - self.steps) / self.steps

    def _round(self, place: Tensor) -> Tensor:
        """Distance-aware soft rounding of ``place``, in units of levels."""
        floor = torch.floor(place).detach()
        part = place - floor
        distances = torch.stack([part, 1 - part])
        scores = torch.exp(-distances)
        nearest = scores.argmax(0, keepdim=True)  # the first, the lower level, where they tie
        levels = torch.arange(2, device=place.device).view(2, *(1 for _ in place.shape))
        scores = scores * torch.where(levels == nearest, 1.0, self.kernel)
        temperature = (self.gamma / (scores[0] - scores[1]).abs()).detach()
        shares = torch.softmax(temperature * scores, 0)
        beyond = 1 / math.expm1(self.gamma)  # the levels are moved apart, so that 0 and 1 result
        return floor + shares[0] * -beyond + shares[1] * (1 + beyond)


GAMMA = 2.0
"""DAQ's distance of the two logits, its default."""
NAIVE: dict[str, Callable[[Quantizer], nn.Module]] = {
    "ste": lambda like: NaiveSTE(cast(STE, like)),
    "lsq": lambda like: NaiveLSQ(cast(LSQ, like)),
    "daq": lambda like: NaiveDAQ(cast(DAQ, like)),
}
"""By the name of the method, from its quantizer with the same start."""


class NaiveConv2d(nn.Conv2d):
    """A convolution whose input and weight are quantized by naive graphs."""

    on_input: nn.Module | None
    on_weight: nn.Module | None
    scale: nn.Parameter | None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[batch, channels, height, width]``."""
        values = x if self.on_input is None else self.on_input(x)
        weight = self.weight if self.on_weight is None else self.on_weight(self.weight)
        result = conv2d(values, weight, self.bias, self.stride, self.padding)
        return result if self.scale is None else self.scale.abs() * result


def naive_network(model: nn.Module, like: nn.Module, method: str) -> nn.Module:
    """A float network with the naive quantizers of ``method`` where ``like`` has quantizers.

    Args:
        model: A float network of the same kind, which is changed.
        like: The quantized network after ``initialize``; its values are taken.
        method: One of ``NAIVE``.
    """
    state = like.state_dict()
    names = model.state_dict().keys()
    model.load_state_dict({name: state[name] for name in names})
    for name, layer in quantized_layers(like).items():
        if not isinstance(layer, QuantConv2d):
            raise TypeError(f"the layer {name} is no convolution")
        twin = cast(NaiveConv2d, model.get_submodule(name))
        twin.__class__ = NaiveConv2d
        weight, inputs = layer.weight_quantizer, layer.activation_quantizer
        twin.on_weight = None if weight is None else NAIVE[method](weight)
        twin.on_input = None if inputs is None else NAIVE[method](inputs)
        scale = getattr(weight, "scale", None)
        twin.scale = None if scale is None else nn.Parameter(scale.detach().clone())
    return model
