"""Distance-aware quantization: hard rounding with a slope that peaks at the transitions."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.daq_rounding import Grid, Slope, hard_rounding, magnitude, soft_rounding
from qbench.quantizers.daq_start import activation_clip, output_scale
from qbench.registry import quantizers

__all__ = ["DAQ"]


@quantizers.register("daq")
class DAQ(Quantizer):
    """Distance-aware quantization: a soft arg-max whose temperature makes it round exactly.

    Kim, Lee, Ham, "Distance-aware Quantization", ICCV 2021, arXiv:2108.06983.

    forward    n = clip(R (y - l) / (u - l), 0, R),  R = 2^k - 1,  i = the nearest integer, ties
               down;  weights: y = (w - mean w) / std w,  q = |s| (2i - R) / R
               activations: y = x, l = 0, q = i / R;  |s| is the layer's output scale
    backward   dq/dn = |s| (2/R or 1/R) G(t) inside the interval (ends included), else 0
               G(t) = gamma / (2 sinh gamma) coth(t + 1 / (2 sigma^2)),  t = |n - floor n - 1/2|
               dn/dy = R / (u - l),  dn/du = -n / (u - l),  dn/dl = -(R - n) / (u - l),
               dq/ds = q / s;  mean w and std w are constants
    shapes     x any; l, u and s are scalars of a layer
    start      weights l, u = -3, 3;  activations u = 3 std of the first batch;
               |s| = mean|conv(x, w)| / mean|conv(x_q, w_q)| of the first batch
    schedule   none; l, u, s have their own Adam, rate 1e-4, no decay, with the recipe's schedule
    options    ``rounding: soft`` trains with the soft arg-max at a fixed ``temperature``, the
               factor of the scores, without the controller; ``soft_no_kernel`` also without the
               kernel; both deploy rounded values; ``output_scale: false`` keeps |s| at 1
    deviates   the closed form of the published code's graph, to which it is equal; an input
               with negative values in the first batch has l = -u and levels in [-1, 1]; where the
               weight is float or another method's, the activation carries |s|; u - l, u, std w and
               |s| have floors
    cost       6 kernels forward and 15 backward on the whole tensor (weights 9 and 18); saves x,
               and the output where s is learned
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Kim et al., ICCV 2021, arXiv:2108.06983"
    search = {
        "gamma": {"low": 0.5, "high": 4.0},
        "weight_sigma": [0.5, 1.0, 2.0],
        "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    }
    components = {
        "controller": {"rounding": "soft"},
        "kernel": {"weight_sigma": 100.0, "activation_sigma": 100.0},
        "output_scale": {"output_scale": False},
    }

    gain: Tensor
    zero: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        gamma: float = 2.0,
        weight_sigma: float = 1.0,
        activation_sigma: float = 2.0,
        rounding: Literal["controlled", "soft", "soft_no_kernel"] = "controlled",
        temperature: float = 8.0,
        learning_rate: float = 1e-4,
        output_scale: bool = True,
    ) -> None:
        """Make the quantizer of one tensor; ``learning_rate`` is that of l, u and s.

        Raises:
            UsageError: A width, gamma or the temperature is out of range.
        """
        super().__init__(bit_width=bit_width, target=target)
        sigma = weight_sigma if target == "weight" else activation_sigma
        _check("gamma", gamma, 1e-3, 50)
        _check("sigma", sigma, 0.01, 100)  # the slope at a transition grows with its square
        _check("temperature", temperature, 1e-3, 1e6)
        self.rounding, self.temperature, self.learning_rate = rounding, temperature, learning_rate
        self.steps = 2**bit_width - 1
        self.slope = Slope.of(self.steps, gamma, sigma)
        self.kernel = 1.0 if rounding == "soft_no_kernel" else math.exp(-(sigma**-2))
        self.trains_hard = self.exact_at_end = rounding == "controlled"
        self.upper = nn.Parameter(torch.tensor(3.0))
        self.lower = nn.Parameter(torch.tensor(-3.0)) if target == "weight" else None
        # An activation's stays 1 unless no weight quantizer of this method carries the layer's.
        self.has_scale = output_scale
        on_weight = output_scale and target == "weight"
        self.scale = nn.Parameter(torch.tensor(1.0), requires_grad=on_weight)
        positive = self.steps / (2 if target == "weight" else 1)
        self.register_buffer("gain", torch.tensor(positive))  # levels between the values 0 and 1
        self.register_buffer("zero", torch.tensor(self.steps - positive))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the interval, and the layer's output scale from its first batch."""
        self.scale.data.fill_(1.0)
        if self.lower is not None:
            self.lower.data.fill_(-3.0)
            self.upper.data.fill_(3.0)
            if self.has_scale:
                other = getattr(layer, "activation_quantizer", None)
                values = inputs if other is None else other.deployed(inputs)
                self.scale.data.copy_(output_scale(layer, inputs, x, values, self.deployed(x)))
            return
        signed = 0.5 if bool((x < 0).any()) else 0.0
        self.gain.fill_(self.steps * (1 - signed))
        self.zero.fill_(self.steps * signed)
        self.upper.data.copy_(activation_clip(x))
        if self.has_scale and not isinstance(getattr(layer, "weight_quantizer", None), DAQ):
            weight = layer.get_parameter("weight")
            self.scale.requires_grad_()
            self.scale.data.copy_(output_scale(layer, x, weight, self.deployed(x), weight))

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.detach().mean() if self.target == "weight" else x

    def _grid(self, x: Tensor) -> Grid:
        """The grid of a tensor, which is around its mean if it is a weight."""
        step = magnitude(self.scale) / self.gain
        if self.lower is None:
            width = self.upper.clamp_min(1e-6)
            return Grid(self.gain / width, self.zero - 0.5, width, self.zero, step)
        deviation = torch.linalg.vector_norm(x.detach()) / max(x.numel() - 1, 1) ** 0.5
        # Below a hundredth of a deviation too few weights lie inside to move the ends again.
        width = (self.upper - self.lower).clamp_min(0.01)
        slope = self.steps / width
        middle = -0.5 - self.lower * slope
        return Grid(slope / deviation.clamp_min(1e-8), middle, width, self.zero, step)

    def forward(self, x: Tensor) -> Tensor:
        """The nearest level of each value, or its soft arg-max; of the shape of ``x``."""
        x = self._centred(x)
        if self.rounding != "controlled":
            return soft_rounding(x, self._grid(x), self.steps, self.temperature, self.kernel)
        with torch.no_grad():
            grid = self._grid(x)
        return hard_rounding(x, self.lower, self.upper, self.scale, grid, self.slope)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        x = self._centred(x)
        grid = self._grid(x)
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        return grid.nearest(x, self.steps).long(), grid.values(index)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Ends and scale: Adam at its own rate, no decay (published code)."""
        return [ParameterGroup(tuple(self.parameters()), "adam", self.learning_rate, 0.0)]


def _check(option: str, value: float, least: float, largest: float) -> None:
    if not least <= value <= largest:
        allowed = f"choose a value from {least:g} to {largest:g}"
        raise UsageError(f"daq: {option}={value:g} is out of range; {allowed}")
