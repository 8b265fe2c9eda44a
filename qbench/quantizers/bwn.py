"""BWN: signs of the weights times the scale of least error of each filter."""

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import SignQuantizer, unit_window
from qbench.quantizers.contract import Target
from qbench.quantizers.functional import absolute_mean, per_channel
from qbench.registry import quantizers

__all__ = ["BWN"]


@quantizers.register("bwn")
class BWN(SignQuantizer):
    """Signs times mean|w| of the filter, the binary weights of least squared error.

    Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net", ECCV 2016, arXiv:1603.05279, section 3.1.

    forward    q = alpha sign(w), sign(0) = +1, alpha = mean|w| of the output channel
    backward   dq/dw = 1/n + alpha 1[|w| <= 1], n weights a channel: the paper's rule, which takes
               the scale's derivative for one weight alone;  detach_scale: alpha 1[|w| <= 1]
    update     at the start and after each step: w minus its mean over input channels, at each place
               of the kernel, then clipped to [-1, 1] (published code)
    shapes     w [channels, ...]; alpha [channels]
    start      see update; schedule none
    deviates   the code multiplies the gradient by n (1 - 1 / input channels), which Adam does not
               see and which is a matter of the rate otherwise; filters of one input channel are not
               centred, they would vanish
    """

    bits = {"weight": (1,)}
    paper = "Rastegari et al., ECCV 2016, arXiv:1603.05279"
    family = "surrogate"
    provenance = "verified"
    components = {"scale_gradient": {"detach_scale": True}}

    def __init__(self, *, bit_width: int, target: Target, detach_scale: bool = False) -> None:
        """Make the quantizer; ``detach_scale`` leaves the scale out of the gradient."""
        super().__init__(bit_width=bit_width, target=target)
        self.detach_scale = detach_scale

    def scale(self, x: Tensor) -> Tensor | None:
        """``alpha`` of weights."""
        return absolute_mean(x) if self.target == "weight" else None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """The paper's, with or without the scale's part."""
        window = unit_window(x)
        if scale is None:
            return window
        through_sign = window * per_channel(scale, x)
        return through_sign if self.detach_scale else through_sign + 1 / x[0].numel()

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Centre and clip the weight."""
        if self.target == "weight":
            _centre(x)

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Centre and clip the weight."""
        _centre(weight)


def _centre(weight: Tensor) -> None:
    if weight.shape[1] > 1:
        weight.sub_(weight.mean(1, keepdim=True))
    weight.clamp_(-1.0, 1.0)
