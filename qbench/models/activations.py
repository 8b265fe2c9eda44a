"""What stands between a batch norm and the next convolution: ReLU, or what keeps signs."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import prelu

__all__ = ["RPReLU", "activation_layer"]


class RPReLU(nn.Module):
    """A PReLU whose kink is shifted along both axes, by channel.

    Liu et al., ReActNet, ECCV 2020, arXiv:2003.03488:  y = PReLU(x - gamma) + zeta,  with a slope
    below the kink. The shifts move the mean of what the next sign sees; all three are trained.
    """

    def __init__(self, channels: int) -> None:
        """Start as the PReLU of slope 0.25: both shifts 0."""
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.zeta = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, …]`` to the same shape."""
        shape = (-1, *(1,) * (x.ndim - 2))
        return prelu(x - self.gamma.view(shape), self.slope) + self.zeta.view(shape)


def activation_layer(
    name: Literal["relu", "hardtanh", "prelu", "rprelu", "none"], channels: int
) -> nn.Module:
    """The layer of one name; ``prelu`` and ``rprelu`` have parameters for each channel.

    Args:
        name: ``relu`` makes values that are not negative, the others signed ones; ``none`` leaves
            batch norm's output as it is, for quantizers that bend it themselves.
        channels: Channels of the input.
    """
    if name == "prelu":
        return nn.PReLU(channels)
    if name == "rprelu":
        return RPReLU(channels)
    if name == "relu":
        return nn.ReLU(inplace=True)  # batch norm does not need its output again
    return nn.Hardtanh() if name == "hardtanh" else nn.Identity()
