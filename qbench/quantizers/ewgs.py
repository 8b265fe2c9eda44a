"""EWGS: each element of the gradient is scaled by its own rounding error."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.daq_rounding import magnitude
from qbench.quantizers.daq_start import activation_clip, output_scale
from qbench.registry import quantizers

__all__ = ["EWGS"]

HALF_NORMAL = (1 - 2 / math.pi) ** 0.5
"""The standard deviation of |z|, z standard normal: that of inputs after a ReLU, nearly."""


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, place: Tensor, delta: float) -> Tensor:
        index = place.add(0.5).floor_()
        ctx.save_for_backward(*((place - index,) if delta else ()))
        ctx.delta = delta
        return index

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if not ctx.saved_tensors:
            return gradient, None
        # g (1 + delta sign(g) error) without a sign
        return torch.addcmul(gradient, gradient.abs(), ctx.saved_tensors[0], value=ctx.delta), None


@quantizers.register("ewgs")
class EWGS(Quantizer):
    """Element-wise gradient scaling: a gradient grows where it points away from the level.

    Lee, Kim, Ham, "Network Quantization with Element-wise Gradient Scaling", CVPR 2021,
    arXiv:2104.00903.

    forward    n = clip((x - l) / (u - l), 0, 1),  r = round(R n) / R,  R = 2^k - 1, ties up;
               q = |s| (2 r - 1) of weights, |s| r of activations;  |s| is the layer's output scale
    backward   dL/dn = g (1 + delta sign(g) (n - r)),  g = dL/dr, inside the interval (ends
               included), else 0;  dn/dx, dn/dl, dn/du and dq/ds exactly;  delta = 0 is the
               straight-through estimator
    shapes     x any; l, u and s are scalars of a layer
    start      weights l, u = -3 std, 3 std;  activations l = min, u = 3 std / sqrt(1 - 2 / pi) of
               the first batch;  |s| = mean|conv(x, w)| / mean|conv(x_q, w_q)| of that batch
    schedule   none; l, u, s have their own Adam, rate 1e-5, no decay, with the recipe's schedule
    deviates   delta is fixed, at the value of the published run with a fixed one; the paper's own
               is max(0, (tr H / N) / (3 std g)), whose Hessian trace needs the whole network and
               its data, which no quantizer sees; an input with negative values in the first batch
               starts and is rounded as weights are; where the weight is float or another method's,
               the activation carries |s|; u - l and |s| have floors
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Lee et al., CVPR 2021, arXiv:2104.00903"
    family = "surrogate"
    provenance = "verified"
    search = {
        "weight_delta": {"low": 1e-4, "high": 0.5, "log": True},
        "activation_delta": {"low": 1e-4, "high": 0.5, "log": True},
        "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    }
    components = {"gradient_scaling": {"weight_delta": 0.0, "activation_delta": 0.0}}

    signed: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        weight_delta: float = 1e-3,
        activation_delta: float = 1e-3,
        learning_rate: float = 1e-5,
    ) -> None:
        """Make the quantizer of one tensor; ``learning_rate`` is that of l, u and s.

        Raises:
            UsageError: A delta is negative, or so large that gradients change their sign.
        """
        super().__init__(bit_width=bit_width, target=target)
        self.steps = 2**bit_width - 1
        delta = weight_delta if target == "weight" else activation_delta
        if not 0 <= delta <= 2 * self.steps:
            raise UsageError(
                f"ewgs: {target}_delta={delta:g} is out of range; at {bit_width} bits choose a "
                f"value from 0 to {2 * self.steps}, above which gradients change their sign"
            )
        self.delta, self.learning_rate = delta, learning_rate
        self.lower = nn.Parameter(torch.tensor(-3.0))
        self.upper = nn.Parameter(torch.tensor(3.0))
        # An activation's stays 1 unless no weight quantizer of this method carries the layer's.
        self.scale = nn.Parameter(torch.tensor(1.0), requires_grad=target == "weight")
        self.register_buffer("signed", torch.tensor(float(target == "weight")))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the interval, and the layer's output scale from its first batch."""
        self.scale.data.fill_(1.0)
        if self.target == "activation":
            self.signed.copy_((x.min() < 0).to(x.dtype))
        self._start_interval(x.detach())
        if self.target == "weight":
            other = getattr(layer, "activation_quantizer", None)
            values = inputs if other is None else other.deployed(inputs)
            self.scale.data.copy_(output_scale(layer, inputs, x, values, self.deployed(x)))
        elif not isinstance(getattr(layer, "weight_quantizer", None), EWGS):
            weight = layer.get_parameter("weight")
            self.scale.requires_grad_()
            self.scale.data.copy_(output_scale(layer, x, weight, self.deployed(x), weight))

    def _start_interval(self, x: Tensor) -> None:
        end = activation_clip(x)
        self.lower.data.copy_(torch.where(self.signed > 0, -end, x.min()))
        self.upper.data.copy_(torch.where(self.signed > 0, end, end / HALF_NORMAL))

    def _place(self, x: Tensor) -> Tensor:
        gain = self.steps / (self.upper - self.lower).clamp_min(1e-8)
        return torch.clamp(x * gain - self.lower * gain, 0, self.steps)

    def _values(self, index: Tensor) -> Tensor:
        step: Tensor = magnitude(self.scale) * ((1 + self.signed) / self.steps)
        return torch.mul(index - self.signed * (self.steps / 2), step)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        # delta counts in units of the interval, the rounding in units of a level.
        index: Tensor = _Rounding.apply(self._place(x), self.delta / self.steps)  # type: ignore[no-untyped-call]
        return self._values(index)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        return self._place(x).add(0.5).floor_().long(), self._values(index)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Interval and scale: Adam at its own rate, no decay (published code)."""
        return [ParameterGroup(tuple(self.parameters()), "adam", self.learning_rate, 0.0)]
