"""Bi-Real net: a magnitude-aware gradient for weights, a tent for activations."""

from torch import Tensor

from qbench.quantizers.binary import SignQuantizer, tent, unit_window
from qbench.quantizers.functional import absolute_mean, per_channel
from qbench.registry import quantizers

__all__ = ["BiReal"]


@quantizers.register("bireal")
class BiReal(SignQuantizer):
    """Signs with a gradient that knows the filter's magnitude; activations with a tent.

    Liu et al., "Bi-Real Net", ECCV 2018, arXiv:1808.00278.

    forward    weights: q = mean|w| sign(w), one mean a channel;  activations: q = sign(x),
               sign(0) = +1
    backward   dq/dw = mean|w| 1[|w| <= 1], the mean is constant;  dq/dx = max(0, 2 - 2|x|), the
               slope of a piecewise polynomial near to the step (ApproxSign)
    shapes     x any; mean|w| [channels]
    start      nothing; schedule none
    deviates   the paper deploys sign(w), the batch norm behind takes the mean in; the authors'
               code has no factor mean|w| in dq/dw: that is reactnet; the shortcut around every
               layer is a model's (residual: convolution)
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Liu et al., ECCV 2018, arXiv:1808.00278"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True

    def scale(self, x: Tensor) -> Tensor | None:
        """``mean|w|`` of weights."""
        return absolute_mean(x) if self.target == "weight" else None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """Magnitude-aware of weights, the tent of activations."""
        return tent(x) if scale is None else unit_window(x) * per_channel(scale, x)
