"""BinaryConnect: weights are their signs in the forward, and themselves in the update."""

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import SignQuantizer
from qbench.quantizers.contract import Target
from qbench.quantizers.functional import with_gradient
from qbench.registry import quantizers

__all__ = ["BinaryConnect"]


@quantizers.register("binaryconnect")
class BinaryConnect(SignQuantizer):
    """Signs of weights that are kept in [-1, 1], with the straight-through gradient.

    Courbariaux, Bengio, David, "BinaryConnect", NeurIPS 2015, arXiv:1511.00363.

    forward    q = sign(w), sign(0) = +1;  stochastic: +1 with probability clip((w + 1) / 2, 0, 1),
               drawn afresh in each training forward, so that E q = w;  deployed: sign(w)
    backward   dq/dw = 1
    update     after the optimizer's step  w <- clip(w, -1, 1)
    shapes     w any
    start      the float weights; schedule none
    deviates   levels and clip are the paper's 1; the code has Glorot's coefficient H in place
               of 1 and raises the rate with it, which batch norm and the recipe make up for, but
               not for stochastic: weights that are small against 1 are drawn like coins; the
               recipe's weight decay stays
    """

    bits = {"weight": (1,)}
    paper = "Courbariaux et al., NeurIPS 2015, arXiv:1511.00363"
    family = "surrogate"
    provenance = "verified"

    def __init__(self, *, bit_width: int, target: Target, stochastic: bool = False) -> None:
        """Make the quantizer of one weight; ``stochastic`` draws its training signs."""
        super().__init__(bit_width=bit_width, target=target)
        vars(self)["stochastic"] = stochastic  # a fact of the class, which an option changes here
        self.trains_hard = self.exact_at_end = not stochastic

    def forward(self, x: Tensor) -> Tensor:
        """The signs, or drawn ones."""
        if not self.stochastic:
            return super().forward(x)
        positive = torch.rand_like(x) < (x.detach() + 1) / 2
        return with_gradient(x, torch.where(positive, 1.0, -1.0).to(x.dtype))

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Clip the weight to [-1, 1], where it can still change its sign soon."""
        weight.clamp_(-1.0, 1.0)
