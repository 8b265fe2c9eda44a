"""IR-Net: balanced, standardised weights and a slope that decays into the step."""

from typing import Literal

import torch
from torch import Tensor

from qbench.quantizers.binary import standardise, unit_window
from qbench.quantizers.contract import Target
from qbench.quantizers.ede import EDE
from qbench.quantizers.functional import absolute_mean, per_channel
from qbench.registry import quantizers

__all__ = ["IRNet"]

EPSILON = 1e-16  # of the variance: 1e-8 of a deviation, far below that of any weight in use


@quantizers.register("irnet")
class IRNet(EDE):
    """Signs of standardised filters times a power of two, with the error decay estimator.

    Qin et al., "Forward and Backward Information Retention", CVPR 2020, arXiv:1909.10788.

    forward    weights: v = (w - mean w) / std w of the channel (Libra), q = 2^s sign(v),
               s = round(log2 mean|v|);  activations: q = sign(x);  sign(0) = +1
    backward   the slope at v or x is k t (1 - tanh^2(t .)), k = max(1/t, 1); 2^s is constant, but
               the gradient flows through mean and std: with h = dL/dv,
               dL/dw = (h - mean h - v sum(h v) / (n - 1)) / std w
    shapes     x any; statistics and s [channels]
    start      nothing
    schedule   t = t0 (t1 / t0)^(epoch / epochs), from sharpness_start to sharpness_end
    options    ``balanced: false`` takes v = w; ``estimator: clipped`` has the slope 1[|x| <= 1] in
               place of the estimator's
    deviates   t0 is the paper's 0.1; one of three published scripts has 0.001; std is the unbiased
               one, as there, with 1e-16 added to the variance, and mean|v| has a floor
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Qin et al., CVPR 2020, arXiv:1909.10788"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True
    search = {
        "sharpness_start": {"low": 1e-3, "high": 1.0, "log": True},
        "sharpness_end": {"low": 2.0, "high": 50.0, "log": True},
    }
    components = {
        "balanced_weights": {"balanced": False},
        "decaying_estimator": {"estimator": "clipped"},
    }

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        sharpness_start: float = 0.1,
        sharpness_end: float = 10.0,
        balanced: bool = True,
        estimator: Literal["decaying", "clipped"] = "decaying",
    ) -> None:
        """Make the quantizer of one tensor; a UsageError names a sharpness that is not above 0."""
        super().__init__(
            bit_width=bit_width,
            target=target,
            sharpness_start=sharpness_start,
            sharpness_end=sharpness_end,
        )
        self.balanced, self.decaying = balanced, estimator == "decaying"

    def scale(self, x: Tensor) -> Tensor | None:
        """``2^s`` of standardised weights."""
        if self.target == "activation":
            return None
        return torch.exp2(absolute_mean(x).log2().round())

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """The estimator's, times the scale."""
        estimate = self.estimate(x) if self.decaying else unit_window(x)
        return estimate if scale is None else estimate * per_channel(scale, x)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled signs of standardised filters, or the signs of inputs."""
        return super().forward(self._balanced(x))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values: ``[channels, 2]`` of weights, -1 and 1 of activations."""
        return super().codes(self._balanced(x.detach()))

    def _balanced(self, x: Tensor) -> Tensor:
        return standardise(x, EPSILON) if self.balanced and self.target == "weight" else x
