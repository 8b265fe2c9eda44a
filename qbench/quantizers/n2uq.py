"""N2UQ: learned thresholds that are not evenly spaced, between levels that are."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.functional import absolute_mean, per_channel, round_half_up, with_gradient
from qbench.quantizers.thresholds import reached
from qbench.registry import quantizers

__all__ = ["N2UQ"]


class _UniformOutput(torch.autograd.Function):
    """The number of thresholds reached; the gradient is that of the expected number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, widths: Tensor) -> Tensor:
        ctx.save_for_backward(x, start, widths)
        return reached(x, start + widths.cumsum(0) - widths / 2).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, start, widths = ctx.saved_tensors
        last = len(widths) - 1
        edges = torch.cat([start.view(1), start + widths.cumsum(0)])
        interval = reached(x, edges) - 1
        inside = (interval >= 0) & (interval <= last)
        chosen = interval.clamp(0, last)
        rising = gradient * (inside / widths[chosen])
        part = rising * ((x - edges[chosen]) / widths[chosen])
        rows, flat = torch.stack([rising.reshape(-1), part.reshape(-1)]), chosen.reshape(-1)
        sums = torch.stack([rows @ (flat == i).to(x.dtype) for i in range(last + 1)])
        # A width moves all intervals above it; those add up from the last down.
        above = sums[:, 0].flip(0).cumsum(0).flip(0) - sums[:, 0]
        return rising, -sums[:, 0].sum(), -sums[:, 1] - above


@quantizers.register("n2uq")
class N2UQ(Quantizer):
    """Non-uniform to uniform quantization: the thresholds of activations are trained.

    Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, arXiv:2111.14826.

    forward    activations:  y = input_scale x,  q = output_scale * (2/n) * #{i: y >= T_i},
               n = 2^k - 1,  T_i = s + sum_{j<i} a_j + a_i / 2
               weights:  m = (n / 2^(k-1)) mean|w| of the filter, v = clip(w / m, -1, 1),
               q = m (2/n round(n (v + 1) / 2) - 1), ties up
    backward   activations: that of the expected value where y is rounded up in its interval
               [s + sum_{j<i} a_j, + a_i) with the probability of its place there: 2 / (n a_i)
               toward y, 0 outside all; its derivatives toward s and a
               weights: 1 without a mask, m constant;  ``released_gradient``: 1 / m
    shapes     x any; a [n]; s and the scales scalars; m [channels]
    start      a = 2 / n, s = 0, scales 1, whatever the data are: uniform rounding in [0, 2]
    schedule   none; activations' own parameters have Adam, rate 2.5e-4, no decay
    deviates   the published code's weight gradient 1 / m is an option, since with Adam, which the
               paper takes, a constant factor is none, and with SGD it is another learning rate;
               a >= 0.001 as in that code
    options    ``learn_thresholds: false`` leaves s and a where they start, uniform;
               ``even_levels: false`` has m = max|w|, which spreads the levels over all weights
    cost       3 kernels an interval in the backward of activations
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4)}
    paper = "Liu et al., CVPR 2022, arXiv:2111.14826"
    family = "learned levels"
    provenance = "verified"
    search = {"learning_rate": {"low": 2.5e-5, "high": 2.5e-3, "log": True}}
    components = {
        "learned_thresholds": {"learn_thresholds": False},
        "even_levels": {"even_levels": False},
    }

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        released_gradient: bool = False,
        learning_rate: float = 2.5e-4,
        learn_thresholds: bool = True,
        even_levels: bool = True,
    ) -> None:
        """Make the quantizer of one tensor; ``learning_rate`` is that of its own parameters."""
        super().__init__(bit_width=bit_width, target=target)
        self.released_gradient, self.learning_rate = released_gradient, learning_rate
        self.even_levels = even_levels
        self.steps = 2**bit_width - 1
        if target == "activation":
            self.start = nn.Parameter(torch.tensor(0.0), requires_grad=learn_thresholds)
            widths = torch.full((self.steps,), 2 / self.steps)
            self.widths = nn.Parameter(widths, requires_grad=learn_thresholds)
            self.input_scale = nn.Parameter(torch.tensor(1.0))
            self.output_scale = nn.Parameter(torch.tensor(1.0))

    def _count(self, x: Tensor) -> Tensor:
        result: Tensor = _UniformOutput.apply(  # type: ignore[no-untyped-call]
            x * self.input_scale, self.start, self.widths.clamp_min(1e-3)
        )
        return result

    def _magnitude(self, weight: Tensor) -> Tensor:
        if not self.even_levels:
            largest = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-8)
            return per_channel(largest, weight)
        ratio = self.steps / 2 ** (self.bit_width - 1)
        return per_channel(absolute_mean(weight) * ratio, weight)

    def _index(self, weight: Tensor, magnitude: Tensor) -> Tensor:
        unit = (weight / magnitude).clamp(-1.0, 1.0)
        return round_half_up((unit + 1) * (self.steps / 2))

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        if self.target == "activation":
            return torch.mul(self._count(x) * (2 / self.steps), self.output_scale)
        magnitude = self._magnitude(x)
        value = (self._index(x.detach(), magnitude) * (2 / self.steps) - 1) * magnitude
        return with_gradient(x / magnitude if self.released_gradient else x, value)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and levels: ``[channels, levels]`` of weights, ``[levels]`` of activations."""
        unit_levels = torch.arange(self.levels, dtype=x.dtype, device=x.device) * (2 / self.steps)
        if self.target == "activation":
            return self._count(x).long(), unit_levels * self.output_scale
        magnitude = self._magnitude(x)
        return self._index(x, magnitude).long(), (unit_levels - 1) * magnitude.view(-1, 1)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Thresholds and scales: Adam at their own rate, no decay."""
        own = tuple(self.parameters())
        return [ParameterGroup(own, "adam", self.learning_rate)] if own else []
