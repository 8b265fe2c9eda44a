"""Rounding with a hand-written backward: the baseline of every other method."""

from typing import Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import Quantizer, Target
from qbench.quantizers.functional import absolute_mean, per_channel, round_half_up, with_gradient
from qbench.registry import quantizers

__all__ = ["STE"]

GAUSSIAN_CLIP = (0.7979, 1.4935, 2.0511, 2.5140, 2.9162, 3.2780, 3.6111, 3.9222)
"""For 1 to 8 bits, the clip in standard deviations of the uniform quantizer of least squared error
for Gaussian values (Max, IRE Trans. Inf. Theory 1960, Table II; a test computes them again)."""


@quantizers.register("ste")
class STE(Quantizer):
    """Uniform rounding with the straight-through estimator.

    Bengio, Leonard, Courville, arXiv:1308.3432; 1-bit weights with a scale: Rastegari et al.,
    XNOR-Net, ECCV 2016; the polynomial: Liu et al., Bi-Real net, ECCV 2018.

    forward    q = low + step * clip(floor((x - low) / step + 1/2), 0, n),
               n = 2^k - 1,  step = (high - low) / n
               weights: high = -low = a_k mean|w| of the output channel; at 1 bit
               q = mean|w| sign(w), sign(0) = +1
               activations: high from the first batch; low = 0 after a ReLU, else -high
    backward   dq/dx = 1 (identity), 1[low <= x <= high] (clipped), or the tent
               2 - 4 |u - floor(u) - 1/2|, u = (x - low) / step, inside (polynomial);
               at 1 bit of signed values low, high = -1, 1 there, as in the papers
    shapes     x any; mean|w| [channels]
    start      the activations' clip has the least squared error on the first batch
    schedule   none
    deviates   the scale is constant in the backward; a_k extends mean|w| to k bits with the
               clip that is best for Gaussian weights
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Bengio et al., 2013, arXiv:1308.3432"

    high: Tensor
    signed: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        weight_backward: Literal["identity", "clipped", "polynomial"] = "identity",
        activation_backward: Literal["identity", "clipped", "polynomial"] = "clipped",
    ) -> None:
        """Make the quantizer of one tensor; the options choose the rule of each target."""
        super().__init__(bit_width=bit_width, target=target)
        self.rule = weight_backward if target == "weight" else activation_backward
        self.steps = 2**bit_width - 1
        if target == "activation":
            self.register_buffer("high", torch.tensor(1.0))
            self.register_buffer("signed", torch.tensor(1.0))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Choose the activations' clip, and whether they have a sign."""
        if self.target == "activation":
            self.signed.copy_((x.min() < 0).to(x.dtype))
            self.high.copy_(self._best_clip(x))

    def _best_clip(self, x: Tensor) -> Tensor:
        largest = x.abs().max().clamp_min(1e-8)
        sample = x.flatten()[:: max(1, x.numel() // 65_536)]
        candidates = torch.linspace(0.02, 1.0, 50, device=x.device) * largest
        errors = [(self._round(sample, -c * self.signed, c)[1] - sample).square().mean()
                  for c in candidates]  # fmt: skip
        return candidates[torch.stack(errors).argmin()]

    def _range(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.target == "activation":
            return -self.high * self.signed, self.high
        ratio = GAUSSIAN_CLIP[self.bit_width - 1] / GAUSSIAN_CLIP[0]
        high = per_channel(absolute_mean(x) * ratio, x)
        return -high, high

    def _round(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        step = (high - low) / self.steps
        codes = round_half_up((x - low) / step).clamp(0, self.steps)
        return codes, low + codes * step

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``; the gradient follows the rule."""
        low, high = self._range(x)
        _, value = self._round(x.detach(), low, high)
        return with_gradient(x, value, self._slope(x.detach(), low, high))

    def _slope(self, x: Tensor, low: Tensor, high: Tensor) -> Tensor | None:
        if self.rule == "identity":
            return None
        if self.bit_width == 1:  # the papers' unit interval, where values have a sign
            signed = low < 0
            low, high = torch.where(signed, -1.0, low), torch.where(signed, 1.0, high)
        inside = ((x >= low) & (x <= high)).to(x.dtype)
        if self.rule == "clipped":
            return inside
        cell = ((x - low) * (self.steps / (high - low))).frac()
        tent: Tensor = inside * (2 - 4 * (cell - 0.5).abs())
        return tent

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and levels: ``[channels, levels]`` of weights, ``[levels]`` of activations."""
        low, high = self._range(x)
        codes, _ = self._round(x.detach(), low, high)
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        codebook = low.view(-1, 1) + index * ((high - low) / self.steps).view(-1, 1)
        return codes.long(), codebook if self.target == "weight" else codebook[0]
