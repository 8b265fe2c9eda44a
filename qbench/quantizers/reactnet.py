"""ReActNet: activations whose threshold is learned, a channel at a time."""

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import SignQuantizer, tent, unit_window
from qbench.quantizers.contract import Target
from qbench.quantizers.functional import absolute_mean, per_channel
from qbench.registry import quantizers

__all__ = ["ReActNet"]


@quantizers.register("reactnet")
class ReActNet(SignQuantizer):
    """Signs around a learned threshold for activations (RSign); scaled signs for weights.

    Liu et al., "ReActNet", ECCV 2020, arXiv:2003.03488.

    forward    activations: q = sign(x - beta), one beta a channel, sign(0) = +1
               weights: q = mean|w| sign(w), one mean a channel
    backward   dq/dx = tent(x - beta) = max(0, 2 - 2|x - beta|);  dq/dbeta = -tent(x - beta), summed
               over the channel;  dq/dw = 1[|w| <= 1], without the factor mean|w| (published code)
    shapes     x [batch, channels, height, width] or [..., features]; beta [channels] or [features]
    start      beta = 0: at first only inputs of both signs say anything; schedule none
    optimizer  beta: the recipe's, no decay
    deviates   RPReLU is a model's activation; the two-step training is a study's (start), its loss
               against a teacher is left out
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Liu et al., ECCV 2020, arXiv:2003.03488"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True

    def __init__(self, *, bit_width: int, target: Target) -> None:
        """Make the quantizer of one tensor; the thresholds have no size before the first batch."""
        super().__init__(bit_width=bit_width, target=target)
        if target == "activation":
            self.shift = nn.Parameter(torch.zeros(0))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Make a threshold for each channel of the first batch."""
        if self.target == "activation":
            self.shift.data = x.new_zeros(x.shape[_axis(x)])

    def scale(self, x: Tensor) -> Tensor | None:
        """``mean|w|`` of weights."""
        return absolute_mean(x) if self.target == "weight" else None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """The window of weights, the tent of activations."""
        return tent(x) if scale is None else unit_window(x)

    def forward(self, x: Tensor) -> Tensor:
        """The signs of what is above the threshold, or the scaled signs."""
        return super().forward(self._shifted(x))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values: ``[channels, 2]`` of weights, -1 and 1 of activations."""
        return super().codes(self._shifted(x.detach()))

    def _shifted(self, x: Tensor) -> Tensor:
        return x - per_channel(self.shift, x, _axis(x)) if self.target == "activation" else x


def _axis(x: Tensor) -> int:
    """Where channels lie in a layer's input: a linear layer's are its last axis."""
    return 1 if x.ndim == 4 else -1
