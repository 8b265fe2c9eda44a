"""Where a network's weights start, as a factor that a study can vary."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from qbench.errors import UsageError

__all__ = ["Init", "start_weights"]

Init = Literal["own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform"]
_DRAWS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "he_normal": nn.init.kaiming_normal_,
        "he_uniform": nn.init.kaiming_uniform_,
        "xavier_normal": nn.init.xavier_normal_,
        "xavier_uniform": nn.init.xavier_uniform_,
    }
)


@torch.no_grad()
def start_weights(model: nn.Module, init: Init, scale: float) -> None:
    """Draw the weights of all convolutions and linear layers anew, in order, or only scale them.

    The distribution that weights start from decides how wide each layer's values are once it is
    trained, and so what a few levels have to cover (Yun and Wong, 2020, arXiv:2011.14578).

        he       Var w = 2 / fan_in                He et al., ICCV 2015, arXiv:1502.01852
        xavier   Var w = 2 / (fan_in + fan_out)    Glorot and Bengio, AISTATS 2010
        normal   Gaussian;   uniform   in [-sqrt(3 Var w), sqrt(3 Var w)]

    Biases become 0, except under ``own``. Batch norm and the parameters of activations stay.

    Args:
        model: A fresh float network; numbers are drawn from torch's global generator, so that one
            seed gives one start.
        init: The distribution; ``own`` keeps what the network drew for itself.
        scale: Multiplies the weights; 1 leaves them, bit for bit.

    Raises:
        UsageError: The scale is not above 0.
    """
    if not scale > 0:
        raise UsageError(f"init_scale={scale} is not allowed; write a number above 0")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if init != "own":
                _DRAWS[init](layer.weight)
                if layer.bias is not None:
                    layer.bias.zero_()
            if scale != 1:
                layer.weight.mul_(scale)
