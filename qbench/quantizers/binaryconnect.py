"""BinaryConnect: weights are their signs in the forward, and themselves in the update."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import SignQuantizer
from qbench.quantizers.contract import Target
from qbench.quantizers.functional import with_gradient
from qbench.registry import quantizers

__all__ = ["BinaryConnect"]


@quantizers.register("binaryconnect")
class BinaryConnect(SignQuantizer):
    """Signs of weights that are kept in an interval, with the straight-through gradient.

    Courbariaux, Bengio, David, "BinaryConnect", NeurIPS 2015, arXiv:1511.00363.

    forward    q = H sign(w), sign(0) = +1;  stochastic: +H with probability
               clip((w / H + 1) / 2, 0, 1), drawn afresh in each training forward, so that E q = w;
               deployed: H sign(w)
    backward   dq/dw = 1
    update     after the optimizer's step  w <- clip(w, -H, H)
    shapes     w [outputs, inputs, ...]
    start      the float weights; schedule none
    options    ``bound``: H = 1 as in the paper (unit), or sqrt(1.5 / (fan in + fan out)) as in its
               code (glorot); weights that are small against H are drawn like coins, so stochastic
               wants glorot
    deviates   the code raises the weights' rate by Glorot's coefficient, here the recipe says it;
               the recipe's weight decay stays; the code evaluates stochastic with float weights
    """

    bits = {"weight": (1,)}
    paper = "Courbariaux et al., NeurIPS 2015, arXiv:1511.00363"
    family = "surrogate"
    provenance = "verified"

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        stochastic: bool = False,
        bound: Literal["unit", "glorot"] = "unit",
    ) -> None:
        """Make the quantizer of one weight; ``stochastic`` draws its training signs."""
        super().__init__(bit_width=bit_width, target=target)
        self.stochastic = stochastic
        self.trains_hard = self.exact_at_end = not stochastic
        self.bound = bound

    def _limit(self, weight: Tensor) -> float:
        """``H`` of a weight ``[outputs, inputs, ...]``."""
        if self.bound == "unit":
            return 1.0
        fans = weight[0].numel() + weight[:, 0].numel()
        return math.sqrt(1.5 / fans)

    def scale(self, x: Tensor) -> Tensor | None:
        """``H``, where it is not 1."""
        return None if self.bound == "unit" else x.new_full((), self._limit(x))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled signs, or drawn ones."""
        if not self.stochastic:
            return super().forward(x)
        limit = self._limit(x)
        positive = torch.rand_like(x) < (x.detach() / limit + 1) / 2
        return with_gradient(x, torch.where(positive, limit, -limit).to(x.dtype))

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Clip the weight to [-H, H], from where its sign can still change."""
        limit = self._limit(weight)
        weight.clamp_(-limit, limit)
