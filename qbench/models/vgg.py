"""The small VGG on which binary networks are compared for 32x32 images."""

from torch import nn

from qbench.errors import UsageError
from qbench.registry import models

__all__ = ["vgg_small"]

_STAGES = (128, 256, 512)
_SHRINK = 2 ** len(_STAGES)


@models.register(
    "vgg_small",
    paper="Zhang et al., LQ-Nets, ECCV 2018, arXiv:1807.10029",
)
def vgg_small(name: str, channels: int, classes: int, size: int) -> nn.Module:
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
        for _ in range(2):
            convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * (size // _SHRINK) ** 2, classes))
