"""AdaBin: two levels wherever they fit, not around zero."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.quantizers.binary import tent
from qbench.quantizers.contract import Target
from qbench.quantizers.ede import EDE
from qbench.quantizers.functional import per_channel, sign
from qbench.registry import quantizers

__all__ = ["AdaBin"]


class _Weights(torch.autograd.Function):
    """q = std b(v) + mean, v = (w - mean) / std, with the gradient through both statistics."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, value: Tensor, unit: Tensor, slope: Tensor, centred: bool
    ) -> Tensor:
        ctx.save_for_backward(unit, slope)
        ctx.centred = centred
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        unit, slope = ctx.saved_tensors
        through = gradient * slope
        along = (gradient * sign(unit) - through * unit).flatten(1).mean(1)
        result = through + unit * per_channel(along, unit)
        if ctx.centred:
            result = result + per_channel((gradient - through).flatten(1).mean(1), unit)
        return result, None, None, None, None


class _Activations(torch.autograd.Function):
    """q = a b(u) + c, u = (x - c) / a, b the sign with the slope of the tent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor, centre: Tensor) -> Tensor:
        unit = (x - centre) / size
        ctx.save_for_backward(unit)
        return torch.where(unit >= 0, centre + size, centre - size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (unit,) = ctx.saved_tensors
        through = gradient * tent(unit)
        size = (gradient * sign(unit) - through * unit).sum()
        return through, size, (gradient - through).sum()


@quantizers.register("adabin")
class AdaBin(EDE):
    """Two levels at mean -+ deviation of a filter; of activations, two learned ones.

    Tu, Chen, Ren, Wang, "AdaBin", ECCV 2022, arXiv:2208.08084.

    forward    weights: q = alpha b(v) + beta, v = (w - beta) / alpha, beta = mean w and
               alpha = sqrt(mean (w - beta)^2) of the channel;  activations: the same, alpha and
               beta learned, one of each a layer;  b = sign, sign(0) = +1
    backward   of b: weights k t (1 - tanh^2(t v)), k = max(1/t, 1), the estimator of irnet;
               activations max(0, 2 - 2|u|);  the gradient flows through alpha and beta:
               with g = dL/dq, r = g b',  dL/dw = r + mean(g - r) + v mean(g sign v - r v),
               dL/dalpha = sum(g sign u - r u),  dL/dbeta = sum(g - r)
    shapes     x any; of weights alpha, beta [channels]
    start      of activations alpha = 1, beta = 0
    schedule   t = t0 (t1 / t0)^(epoch / epochs), from sharpness_start to sharpness_end
    optimizer  alpha, beta: the recipe's, no decay
    options    ``adaptive_weights: false`` has beta = 0 of weights, ``adaptive_activations: false``
               the levels -1 and 1 of activations
    deviates   the published code has levels alpha (b + beta), here the paper's alpha b + beta;
               |alpha| is used, at least 1e-8; Maxout is a model's activation
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Tu et al., ECCV 2022, arXiv:2208.08084"
    family = "learned levels"
    provenance = "verified"
    signed_inputs = True
    components = {
        "adaptive_weights": {"adaptive_weights": False},
        "adaptive_activations": {"adaptive_activations": False},
    }
    search = {
        "sharpness_start": {"low": 1e-3, "high": 0.1, "log": True},
        "sharpness_end": {"low": 2.0, "high": 50.0, "log": True},
    }

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        sharpness_start: float = 1e-3,
        sharpness_end: float = 10.0,
        adaptive_weights: bool = True,
        adaptive_activations: bool = True,
    ) -> None:
        """Make the quantizer of one tensor; a UsageError names a sharpness that is not above 0."""
        super().__init__(
            bit_width=bit_width,
            target=target,
            sharpness_start=sharpness_start,
            sharpness_end=sharpness_end,
        )
        self.centred = adaptive_weights
        if target == "activation":
            self.size = nn.Parameter(torch.tensor(1.0), requires_grad=adaptive_activations)
            self.centre = nn.Parameter(torch.tensor(0.0), requires_grad=adaptive_activations)

    def _statistics(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``alpha`` and ``beta`` ``[channels]``, and ``v``."""
        flat = weight.flatten(1)
        mean = flat.mean(1) if self.centred else flat.new_zeros(len(flat))
        centred = weight - per_channel(mean, weight)
        size = centred.flatten(1).square().mean(1).sqrt().clamp_min(1e-8)
        return size, mean, centred / per_channel(size, weight)

    def _learned(self) -> tuple[Tensor, Tensor]:
        return self.size.abs().clamp_min(1e-8), self.centre

    def forward(self, x: Tensor) -> Tensor:
        """The nearer of the two levels."""
        result: Tensor
        if self.target == "activation":
            result = _Activations.apply(x, *self._learned())  # type: ignore[no-untyped-call]
            return result
        size, mean, unit = self._statistics(x.detach())
        low, high = per_channel(mean - size, x), per_channel(mean + size, x)
        value = torch.where(unit >= 0, high, low)
        result = _Weights.apply(  # type: ignore[no-untyped-call]
            x, value, unit, self.estimate(unit), self.centred
        )
        return result

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values: ``[channels, 2]`` of weights, ``[2]`` of activations."""
        if self.target == "activation":
            size, mean = self._learned()
            unit = (x - mean) / size
        else:
            size, mean, unit = self._statistics(x)
        return (unit >= 0).long(), torch.stack([mean - size, mean + size], -1)
