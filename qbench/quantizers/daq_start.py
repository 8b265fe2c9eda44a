"""Where distance-aware quantization starts: the activations' interval, the layer's scale."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["activation_clip", "output_scale"]


def activation_clip(x: Tensor) -> Tensor:
    """Three standard deviations of a batch, 0-dim.

    A constant input has none, and starts from its largest magnitude; zeros start from 1.
    """
    clip = 3 * x.std(correction=min(1, x.numel() - 1))
    clip = torch.where(clip > 1e-6, clip, x.abs().max())
    return torch.where(clip > 1e-6, clip, 1.0)


def output_scale(
    layer: nn.Module, x: Tensor, weight: Tensor, quantized_x: Tensor, quantized_weight: Tensor
) -> Tensor:
    """What the quantized product lacks in mean magnitude: ``mean|x * w| / mean|x_q * w_q|``, 0-dim.

    Args:
        layer: A convolution or a linear layer; its own product is taken, without the bias.
        x: The layer's input in the first batch.
        weight: The layer's weight.
        quantized_x: The input as the layer will see it.
        quantized_weight: The weight as the layer will see it, at scale 1.

    Returns:
        The ratio; 1 where one of the products is zero everywhere.
    """
    exact = _product(layer, x, weight).abs().mean()
    ratio = exact / _product(layer, quantized_x, quantized_weight).abs().mean()
    return torch.where(ratio.isfinite() & (ratio > 0), ratio, 1.0)


def _product(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return cast(Tensor, layer._conv_forward(x, weight, None))
    return linear(x, weight)
