"""The small VGG on which binary networks are compared for 32x32 images."""

from typing import Literal

from torch import nn

from qbench.errors import UsageError
from qbench.models.activations import activation_layer
from qbench.models.initialization import start_weights
from qbench.registry import models

__all__ = ["vgg_small"]

_STAGES = (128, 256, 512)
_SHRINK = 2 ** len(_STAGES)


@models.register(
    "vgg_small",
    paper="Zhang et al., LQ-Nets, ECCV 2018, arXiv:1807.10029",
)
def vgg_small(
    name: str,
    channels: int,
    classes: int,
    size: int,
    *,
    activation: Literal["relu", "hardtanh", "prelu", "rprelu", "none"] = "relu",
    init: Literal["own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform"] = "own",
    init_scale: float = 1.0,
) -> nn.Module:
    """Six 3x3 convolutions of 128, 256 and 512 channels, and one linear layer.

    The ``VGG-Small`` of Zhang et al., LQ-Nets, ECCV 2018, arXiv:1807.10029, a cut-down network of
    Simonyan and Zisserman, ICLR 2015: each convolution is followed by batch norm and ReLU, each
    pair of them by 2x2 max pooling.

    Args:
        name: The registered name.
        channels: Channels of an image.
        classes: Outputs.
        size: Height and width of an image, in pixels, at least 8; the linear layer reads
            ``512 * (size // 8) ** 2`` values, as the paper's does for 32.
        activation: What follows each batch norm. Where it is not ``relu``, pooling comes before the
            batch norm, as in binary networks (Hubara et al., NeurIPS 2016, arXiv:1602.02830): the
            largest of four signed values is nearly always positive, and a sign of it says little.
        init: The distribution that weights start from; ``own``: convolutions from He's normal
            distribution over the outputs (fan-out).
        init_scale: Multiplies them.

    Raises:
        UsageError: The image is smaller than 8x8.
    """
    if size < _SHRINK:
        raise UsageError(
            f"the model 'vgg_small' cannot take images of {size}x{size} pixels; its three poolings "
            f"need {_SHRINK}x{_SHRINK} or more: take another model, such as mlp or resnet8"
        )
    layers: list[nn.Module] = []
    inputs = channels
    for width in _STAGES:
        for pooled in (False, True):
            convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            after = [nn.BatchNorm2d(width), activation_layer(activation, width)]
            if pooled:
                after.insert(len(after) if activation == "relu" else 0, nn.MaxPool2d(2))
            layers += [convolution, *after]
            inputs = width
    linear = nn.Linear(inputs * (size // _SHRINK) ** 2, classes)
    network = nn.Sequential(*layers, nn.Flatten(), linear)
    start_weights(network, init, init_scale)
    return network
