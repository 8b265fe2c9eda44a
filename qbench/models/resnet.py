"""The residual networks for 32x32 images: 6n+2 layers in three stages of 16, 32 and 64 channels."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from qbench.models.activations import activation_layer
from qbench.models.initialization import start_weights
from qbench.registry import models

__all__ = ["CifarResNet", "Recipe", "resnet"]

_WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Recipe:
    """What a network may be built with in place of the paper's parts."""

    shortcut: Literal["A", "B"] = "A"
    activation: Literal["relu", "hardtanh", "prelu", "rprelu", "none"] = "relu"
    residual: Literal["block", "convolution"] = "block"


class PaddedShortcut(nn.Module):
    """Option A: every second pixel, and channels of zeros on both sides; no parameters."""

    def __init__(self, channels: int, stride: int) -> None:
        """Add ``channels`` channels of zeros and keep every ``stride``-th pixel."""
        super().__init__()
        self.before = channels // 2
        self.after = channels - self.before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, height, width]`` to the shape of the block's output."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; each convolution reads what an activation made."""

    def __init__(self, inputs: int, outputs: int, stride: int, recipe: Recipe) -> None:
        """Make a block from ``inputs`` to ``outputs`` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation_layer(recipe.activation, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.activation2 = activation_layer(recipe.activation, outputs)
        self.each = recipe.residual == "convolution"
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs and recipe.shortcut == "A":
            self.shortcut = PaddedShortcut(outputs - inputs, stride)
        elif inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, inputs, height, width]`` to ``[batch, outputs, …/stride, …/stride]``."""
        first = self.bn1(self.conv1(x))
        if self.each:
            middle = self.activation1(first + self.shortcut(x))
            past = middle
        else:
            middle = self.activation1(first)
            past = self.shortcut(x)
        result: Tensor = self.activation2(self.bn2(self.conv2(middle)) + past)
        return result


class CifarResNet(nn.Module):
    """Three stages of ``blocks`` basic blocks between a 3x3 convolution and a linear layer."""

    def __init__(self, blocks: int, channels: int, classes: int, recipe: Recipe) -> None:
        """Make the network for images of any size with ``channels`` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.activation = activation_layer(recipe.activation, _WIDTHS[0])
        stages, inputs = [], _WIDTHS[0]
        for width in _WIDTHS:
            stage = []
            for _ in range(blocks):
                stage.append(BasicBlock(inputs, width, 1 if inputs == width else 2, recipe))
                inputs = width
            stages.append(nn.Sequential(*stage))
        self.stage1, self.stage2, self.stage3 = stages
        self.fc = nn.Linear(_WIDTHS[-1], classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, channels, size, size]`` to logits ``[batch, classes]``."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


@models.register(
    "resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
    paper="He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385",
)  # fmt: skip
def resnet(
    name: str,
    channels: int,
    classes: int,
    size: int,
    *,
    shortcut: Literal["A", "B"] = "A",
    activation: Literal["relu", "hardtanh", "prelu", "rprelu", "none"] = "relu",
    init: Literal["own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform"] = "own",
    init_scale: float = 1.0,
    residual: Literal["block", "convolution"] = "block",
) -> nn.Module:
    """Residual network for small images, of 6n+2 layers.

    He et al., CVPR 2016, arXiv:1512.03385, section 4.2. The order is convolution, batch norm, ReLU,
    so that the input of every convolution but the first is the output of a ReLU. Convolutions start
    from He's normal distribution over the outputs (fan-out).

    Methods that take the sign of a layer's input need one that has signs: any other ``activation``.
    ``activation: none`` with ``residual: convolution`` is the structure of Bi-Real net (Liu et al.,
    ECCV 2018, arXiv:1808.00278), ``hardtanh`` with it that of IR-Net (Qin et al., CVPR 2020,
    arXiv:1909.10788), ``rprelu`` with it that of ReActNet (Liu et al., ECCV 2020,
    arXiv:2003.03488), each with the shortcuts of this network where channels grow.

    Args:
        name: ``resnet`` and the number of layers.
        channels: Channels of an image.
        classes: Outputs.
        size: Height and width of an image, in pixels; any, the last stage sees a quarter of it.
        shortcut: Where the number of channels grows: ``A`` pads with zeros and has no parameters,
            ``B`` is a 1x1 convolution with batch norm.
        activation: What follows each batch norm, and each sum. Only after ``relu`` no layer's
            input is negative.
        residual: Around what there is a shortcut: each ``block`` of two convolutions, or each
            ``convolution``, so that the values before a sign are added to what follows it.
        init: The distribution that weights start from; ``own`` is that above.
        init_scale: Multiplies them.
    """
    layers = int(name.removeprefix("resnet"))
    recipe = Recipe(shortcut, activation, residual)
    network = CifarResNet((layers - 2) // 6, channels, classes, recipe)
    start_weights(network, init, init_scale)
    return network
