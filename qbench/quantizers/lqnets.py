"""LQ-Nets: levels are sums of a small basis that is fitted to the values at each step."""

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import Quantizer, Target, decode
from qbench.quantizers.functional import with_gradient
from qbench.quantizers.lqnets_basis import fitted, nearest, signs, sorted_levels
from qbench.quantizers.thresholds import reached
from qbench.registry import quantizers

__all__ = ["LQNets"]

DECAY = 0.9
"""Of the moving average, as published."""
QUARTILE = 0.6745
"""Of the standard normal distribution: the scale of the first basis, as published."""


@quantizers.register("lqnets")
class LQNets(Quantizer):
    """Learned quantization: a basis for each filter or layer, fitted by least squares as it trains.

    Zhang et al., "LQ-Nets: Learned Quantization for Highly Accurate and Compact Deep Neural
    Networks", ECCV 2018, arXiv:1807.10029.

    forward    q = the nearest of the 2^k levels sum_i v_i b_i, ties up;  weights: b_i in {-1, 1},
               v of the filter;  activations: b_i in {0, 1}, v of the layer
    update     in each training step: the codes b of the step's values at v, then
               v* = (B'B)^-1 B'x, and v <- v + r (v* - v),  r = 0.1 / (1 - 0.9^t) at update t: the
               moving average without its bias toward the start, so r = 1 at first
    backward   dq/dx = 1;  of activations 1[x <= the highest level]
    shapes     x any; v [channels, k] of weights, [1, k] of activations
    start      weights v_i = 0.6745 rms(w) 2^i / 2^(k-1) of the filter, activations
               v_i = 1.349 2^i / (2^k - 1), i = 0 … k - 1; then one fit, to the weight or the first
               batch
    schedule   none
    deviates   the fit at the start; the rms of the filter stands for its value at He's start; a
               basis that codes do not determine stays where it is, in place of a ridge;
               activations' v moves in the next training forward, so that a forward and what is
               deployed after it agree; an input with negative values in the first batch has b_i in
               {-1, 1}
    cost       k products with the tensor, and a system of k unknowns a filter
    """

    bits = {"weight": (1, 2, 3, 4), "activation": (1, 2, 3, 4)}
    paper = "Zhang et al., ECCV 2018, arXiv:1807.10029"
    family = "learned levels"
    provenance = "verified"

    basis: Tensor
    fit_of_last: Tensor
    updates: Tensor
    table: Tensor

    def __init__(self, *, bit_width: int, target: Target) -> None:
        """Make the quantizer of one tensor."""
        super().__init__(bit_width=bit_width, target=target)
        powers = 2.0 ** torch.arange(bit_width).unsqueeze(0)
        self.register_buffer("basis", powers * (2 * QUARTILE / (2**bit_width - 1)))
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("table", signs(bit_width, -1.0 if target == "weight" else 0.0))
        if target == "activation":
            self.register_buffer("fit_of_last", self.basis.clone())

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Choose the bits' values of activations, and start the basis."""
        x = x.detach()
        if self.target == "weight":
            spread = x.flatten(1).square().mean(1, keepdim=True).sqrt().clamp_min(1e-8)
            powers = 2.0 ** torch.arange(self.bit_width, device=x.device)
            self.basis = spread * (QUARTILE * powers / 2 ** (self.bit_width - 1))
        elif bool((x < 0).any()):
            self.table.copy_(signs(self.bit_width, -1.0))
        self.basis.copy_(self._fit(x, self.codes(x)[0]))

    def _move_to(self, basis: Tensor, updates: Tensor) -> None:
        """The step of the moving average that is number ``updates``; none at 0."""
        rate = (1 - DECAY) / (1 - DECAY ** updates.clamp_min(1.0))
        self.basis.add_(torch.where(updates > 0, rate, 0.0) * (basis - self.basis))

    def forward(self, x: Tensor) -> Tensor:
        """Take the nearest levels."""
        if self.target == "weight":
            return with_gradient(x, self.deployed(x))
        learns = self.training and torch.is_grad_enabled()
        if learns:
            self._move_to(self.fit_of_last, self.updates)
        codes, codebook = self.codes(x)
        if learns:
            self.fit_of_last.copy_(self._fit(x, codes))
            self.updates.add_(1)
        below = (x.detach() <= codebook[-1]).to(x.dtype)
        return with_gradient(x, decode(codes, codebook), below)

    def _fit(self, x: Tensor, codes: Tensor) -> Tensor:
        rows = len(self.basis)
        _, bits = sorted_levels(self.basis, self.table)
        return fitted(x.detach().reshape(rows, -1), codes.reshape(rows, -1), self.basis, bits)

    @torch.no_grad()
    def after_backward(self, weight: nn.Parameter) -> None:
        """Fit the basis to the weight that the forward saw."""
        self.updates.add_(1)
        self._move_to(self._fit(weight, self.codes(weight)[0]), self.updates)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and levels: ``[channels, levels]`` of weights, ``[levels]`` of activations."""
        levels, _ = sorted_levels(self.basis, self.table)
        if self.target == "weight":
            return nearest(x.flatten(1), levels).view(x.shape), levels
        own = levels[0]
        return reached(x.clone(), (own[1:] + own[:-1]) / 2), own
