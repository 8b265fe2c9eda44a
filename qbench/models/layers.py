"""Convolution and linear layers that quantize their weight and their input.

``mode`` says which values a layer computes with: ``"training"`` the quantizers' differentiable
forward, ``"deployed"`` their codes and codebooks, and the two mixed forms serve the diagnostics.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import Quantizer

__all__ = ["Mode", "QuantConv2d", "QuantLayer", "QuantLinear", "quantized_layers", "set_mode"]

Mode = Literal["training", "deployed", "deployed_weight", "deployed_activation"]


class QuantLayer(nn.Module):
    """What both layers share: two quantizers and the mode of their values."""

    weight: Tensor
    weight_quantizer: Quantizer | None
    activation_quantizer: Quantizer | None
    mode: Mode
    fixed_weight: Tensor | None = None
    """A weight quantized once for a whole evaluation."""

    def quantized_weight(self) -> Tensor:
        """The weight that this mode computes with."""
        if self.fixed_weight is not None:
            return self.fixed_weight
        if self.weight_quantizer is None:
            return self.weight
        if self.mode in ("deployed", "deployed_weight"):
            return self.weight_quantizer.deployed(self.weight)
        return _in_float32(self.weight_quantizer, self.weight)

    def quantized_input(self, x: Tensor) -> Tensor:
        """The input that this mode computes with."""
        if self.activation_quantizer is None:
            return x
        if self.mode in ("deployed", "deployed_activation"):
            return self.activation_quantizer.deployed(x)
        return _in_float32(self.activation_quantizer, x)


def _in_float32(quantizer: Quantizer, x: Tensor) -> Tensor:
    """The quantizer's training value, in float32 where the network around it is not."""
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            rounded: Tensor = quantizer(x.float())
            return rounded
    value: Tensor = quantizer(x)
    return value


class QuantConv2d(QuantLayer, nn.Conv2d):
    """A 2-D convolution of a quantized input with a quantized weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[batch, channels, height, width]``."""
        result: Tensor = self._conv_forward(
            self.quantized_input(x), self.quantized_weight(), self.bias
        )
        return result


class QuantLinear(QuantLayer, nn.Linear):
    """A linear layer of a quantized input with a quantized weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``[…, features]``."""
        return nn.functional.linear(self.quantized_input(x), self.quantized_weight(), self.bias)


def quantized_layers(model: nn.Module) -> dict[str, QuantLayer]:
    """The quantized layers of a model by their dotted names, in order."""
    return {name: part for name, part in model.named_modules() if isinstance(part, QuantLayer)}


def set_mode(model: nn.Module, mode: Mode) -> None:
    """Say which values all quantized layers compute with."""
    for layer in quantized_layers(model).values():
        layer.mode = mode
