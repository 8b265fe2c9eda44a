"""ReSTE: the slope of a root, whose exponent rises from the identity's."""

import math

import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.binary import SignQuantizer
from qbench.quantizers.contract import Progress, Target
from qbench.quantizers.functional import sign, with_gradient
from qbench.registry import quantizers

__all__ = ["ReSTE"]


@quantizers.register("reste")
class ReSTE(SignQuantizer):
    """Signs with the slope of sign(x) |x|^(1/o): between the identity and the step.

    Wu et al., "Estimator Meets Equilibrium Perspective", ICCV 2023, arXiv:2308.06689.

    forward    weights: q = mean|w| sign(w), one mean a layer;  activations: q = sign(x);
               sign(0) = +1
    backward   of the sign: |x|^(1/o - 1) / o for m < |x| <= t, its chord m^(1/o - 1) for |x| <= m,
               0 for |x| > t;  the gradient flows through mean|w| as well
    shapes     x any; mean|w| 0-dim
    start      nothing
    schedule   o = 1 + (1 - cos(pi r / 2)) (exponent - 1), r the share of training that is done
    deviates   r rises by step, the code's by epoch; |x| <= m gets the chord at 0 too; mean|w| has a
               floor of 1e-8
    same as    exponent 1: the straight-through estimator, clipped at t
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Wu et al., ICCV 2023, arXiv:2308.06689"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True
    search = {
        "exponent": {"low": 1.5, "high": 6.0},
        "cut": {"low": 0.5, "high": 3.0},
        "flat": {"low": 0.02, "high": 0.4, "log": True},
    }
    components = {"power": {"exponent": 1.0}}

    power: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        exponent: float = 3.0,
        cut: float = 1.5,
        flat: float = 0.1,
    ) -> None:
        """Make the quantizer; ``exponent`` is o at the end, ``cut`` is t and ``flat`` is m.

        Raises:
            UsageError: An option is out of range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if exponent < 1 or not 0 < flat < cut:
            raise UsageError(
                f"reste: exponent={exponent}, flat={flat} and cut={cut}; the exponent must be 1 or "
                "more, flat above 0 and cut above flat"
            )
        self.exponent, self.cut, self.flat = exponent, cut, flat
        self.register_buffer("power", torch.tensor(1.0), persistent=False)

    def set_progress(self, progress: Progress) -> None:
        """Set 1/o."""
        risen = 1 - math.cos(math.pi / 2 * progress.fraction)
        self.power.fill_(1 / (1 + risen * (self.exponent - 1)))

    def scale(self, x: Tensor) -> Tensor | None:
        """The mean of ``|w|`` of the layer, with its gradient."""
        return x.abs().mean().clamp_min(1e-8) if self.target == "weight" else None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """That of the root."""
        size = x.abs()
        root = size.clamp_min(self.flat).pow(self.power - 1)  # at |x| <= m: the chord
        slope = torch.where(size > self.flat, self.power * root, root)
        return torch.where(size <= self.cut, slope, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """The signs, times the mean of weights."""
        scale = self.scale(x)
        if scale is None:
            return super().forward(x)
        fixed = x.detach()
        return with_gradient(x, sign(fixed), self.slope(fixed, scale)) * scale

    def readings(self) -> dict[str, Tensor]:
        """The exponent o."""
        return {"exponent": 1 / self.power}
