"""Multilayer perceptron: the smallest network that a quantizer can be tried on."""

from itertools import pairwise

from torch import nn

from qbench.errors import UsageError
from qbench.registry import models

__all__ = ["mlp"]


@models.register("mlp", paper="")
def mlp(
    name: str,
    channels: int,
    classes: int,
    size: int,
    *,
    width: int = 256,
    depth: int = 2,
    batch_norm: bool = True,
) -> nn.Module:
    """Multilayer perceptron of ``depth`` hidden layers of ``width`` units.

    Each hidden layer is linear, batch norm, ReLU: no later layer's input is negative.

    Args:
        name: The registered name.
        channels: Channels of an image.
        classes: Outputs.
        size: Height and width of an image, in pixels.
        width: Units of a hidden layer.
        depth: Hidden layers.
        batch_norm: Whether hidden layers have batch norm in place of a bias.

    Raises:
        UsageError: ``width`` is below 1 or ``depth`` below 0.
    """
    if width < 1 or depth < 0:
        raise UsageError(
            f"the model 'mlp' cannot have width={width} and depth={depth}; "
            "width must be at least 1 and depth at least 0"
        )
    units = [channels * size * size, *[width] * depth]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(units):
        layers.append(nn.Linear(inputs, outputs, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(units[-1], classes))
