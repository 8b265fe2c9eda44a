"""Multilayer perceptron: the smallest network that a quantizer can be tried on."""

from itertools import pairwise
from typing import Literal

from torch import nn

from qbench.errors import UsageError
from qbench.models.activations import activation_layer
from qbench.models.initialization import start_weights
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
    activation: Literal["relu", "hardtanh", "prelu", "rprelu", "none"] = "relu",
    init: Literal["own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform"] = "own",
    init_scale: float = 1.0,
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
        activation: What ends each hidden layer; all but ``relu`` keep signs.
        init: The distribution that weights start from; ``own`` is that of torch's layers.
        init_scale: Multiplies them.

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
        layers.append(activation_layer(activation, outputs))
    network = nn.Sequential(*layers, nn.Linear(units[-1], classes))
    start_weights(network, init, init_scale)
    return network
