"""BNN: signs of weights and of activations, with the slope of the hard tanh."""

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import SignQuantizer, unit_window
from qbench.registry import quantizers

__all__ = ["BNN"]


@quantizers.register("bnn")
class BNN(SignQuantizer):
    """Signs, with the gradient of the hard tanh; latent weights are kept in [-1, 1].

    Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Binarized Neural Networks", NeurIPS 2016,
    arXiv:1602.02830.

    forward    q = sign(x), sign(0) = +1
    backward   dq/dx = 1[|x| <= 1]
    update     after the optimizer's step  w <- clip(w, -1, 1)
    shapes     x any
    start      nothing; schedule none
    deviates   the code raises the weights' rate by Glorot's coefficient, here the recipe says it;
               the recipe's weight decay stays; batch norm is not the paper's shift-based one
    same as    with the clip, the weights' slope is 1: binaryconnect with signs as activations
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Hubara et al., NeurIPS 2016, arXiv:1602.02830"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """That of the hard tanh."""
        return unit_window(x)

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Clip the weight to [-1, 1], outside of which it would get no gradient."""
        weight.clamp_(-1.0, 1.0)
