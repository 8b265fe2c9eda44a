"""DSQ: hard rounding whose gradient is that of a staircase of tanh pieces."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.registry import quantizers

__all__ = ["DSQ"]

LARGEST_ALPHA = 0.5
"""The paper's bound, above which the pieces say little of the staircase."""


class _SoftStairs(torch.autograd.Function):
    """The nearest of 0 … R, ties up; the gradient is that of the tanh pieces."""

    @staticmethod
    def forward(ctx: Any, place: Tensor, alpha: Tensor) -> Tensor:
        ctx.save_for_backward(place, alpha)
        return place.add(0.5).floor_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        place, alpha = ctx.saved_tensors
        k, scale = (2 / alpha - 1).log(), 1 / (1 - alpha)
        t = place.frac().sub_(0.5)
        bend = torch.tanh(k * t)
        steep = gradient * (1 - bend.square())
        toward_alpha = None
        if ctx.needs_input_grad[1]:
            k_slope = -2 / (alpha * (2 - alpha))
            toward_scale, toward_k = (gradient * bend).sum() / 2, (steep * t).sum() * scale / 2
            toward_alpha = toward_scale * scale**2 + toward_k * k_slope
        return steep.mul_(scale * k / 2), toward_alpha


@quantizers.register("dsq")
class DSQ(Quantizer):
    """Differentiable soft quantization: tanh pieces that pass through all levels give the gradient.

    Gong et al., "Differentiable Soft Quantization", ICCV 2019, arXiv:1908.05033.

    forward    n = clip(R (x - l) / (u - l), 0, R),  R = 2^k - 1;
               q = l + (u - l) / R * floor(n + 1/2)
    backward   through floor(n + 1/2) as if it were  i + 1/2 + s tanh(kappa t) / 2,  i = floor n,
               t = n - i - 1/2,  kappa = log(2 / alpha - 1),  s = 1 / (1 - alpha):
               s kappa (1 - tanh^2(kappa t)) / 2 toward n, its derivative toward alpha; the rest
               exactly, so outside [l, u] dq/dx = 0 and dq/dl or dq/du = 1
    shapes     x any; l, u and alpha scalars
    start      l, u = mu -+ 2.6 sigma of the weight or the first batch, but not beyond its values;
               alpha = 0.2
    schedule   none; l, u, alpha have their own Adam, rate 1e-4, no decay, with the recipe's
               schedule
    options    ``learn_alpha: false`` keeps alpha where it starts
    deviates   alpha = sigmoid(theta) / 2, so that it stays in (0, 1/2); the optimizer of l, u and
               alpha is ours: their gradients are sums over a tensor, with which the recipe's rate
               is too large; u - l has a floor
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Gong et al., ICCV 2019, arXiv:1908.05033"
    family = "surrogate"
    provenance = "recalled"
    search = {
        "alpha": {"low": 0.05, "high": 0.45},
        "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    }
    components = {"learned_alpha": {"learn_alpha": False}}

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        alpha: float = 0.2,
        learn_alpha: bool = True,
        learning_rate: float = 1e-4,
    ) -> None:
        """Make the quantizer of one tensor.

        Args:
            bit_width: Bits of the codes.
            target: Weight or activation.
            alpha: Where the distance from the hard staircase starts.
            learn_alpha: Whether it is trained.
            learning_rate: That of l, u and alpha.

        Raises:
            UsageError: ``alpha`` is out of range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0.001 <= alpha <= 0.499:
            raise UsageError(f"dsq: alpha={alpha:g} is out of range; choose from 0.001 to 0.499")
        self.steps, self.learning_rate = 2**bit_width - 1, learning_rate
        self.lower = nn.Parameter(torch.tensor(-1.0))
        self.upper = nn.Parameter(torch.tensor(1.0))
        start = torch.logit(torch.tensor(alpha / LARGEST_ALPHA))
        self.theta = nn.Parameter(start, requires_grad=learn_alpha)

    @property
    def alpha(self) -> Tensor:
        """How far the tanh pieces are from the hard staircase, in (0, 1/2), 0-dim."""
        return torch.clamp_min(torch.sigmoid(self.theta) * LARGEST_ALPHA, 1e-4)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the interval."""
        x = x.detach()
        mean, reach = x.mean(), 2.6 * x.std(correction=0)
        lower = torch.maximum(mean - reach, x.min())
        upper = torch.minimum(mean + reach, x.max())
        self.lower.data.copy_(lower)
        self.upper.data.copy_(torch.maximum(upper, lower + 1e-6))

    def _step(self) -> Tensor:
        width = torch.clamp_min(self.upper - self.lower, 1e-8)
        return torch.div(width, self.steps)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        step = self._step()
        place = ((x - self.lower) / step).clamp(0, self.steps)
        index: Tensor = _SoftStairs.apply(place, self.alpha)  # type: ignore[no-untyped-call]
        return index * step + self.lower

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        step = self._step()
        place = ((x - self.lower) / step).clamp(0, self.steps)
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        return place.add(0.5).floor_().long(), index * step + self.lower

    def parameter_groups(self) -> list[ParameterGroup]:
        """Interval and alpha: Adam at its own rate, no decay."""
        return [ParameterGroup(tuple(self.parameters()), "adam", self.learning_rate)]

    def readings(self) -> dict[str, Tensor]:
        """The interval and alpha."""
        return {"lower": self.lower, "upper": self.upper, "alpha": self.alpha.detach()}
