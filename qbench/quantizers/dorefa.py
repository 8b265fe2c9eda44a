"""DoReFa: weights through a tanh map, activations clipped to [0, 1]."""

import torch
from torch import Tensor

from qbench.quantizers.contract import Quantizer
from qbench.quantizers.functional import sign, with_gradient
from qbench.registry import quantizers

__all__ = ["DoReFa"]


@quantizers.register("dorefa")
class DoReFa(Quantizer):
    """Uniform levels in [-1, 1] after a tanh map; activations in [0, 1].

    Zhou et al., "DoReFa-Net", 2016, arXiv:1606.06160.

    forward    weights, k > 1:  t = tanh(w) / (2 max|tanh w|) + 1/2,  q = 2 round(n t) / n - 1,
               n = 2^k - 1;  k = 1:  q = mean|w| sign(w), one scale a layer, sign(0) = +1
               activations:  q = round(n clip(x, 0, 1)) / n
    backward   through round: 1;  dq/dw = (1 - tanh^2 w) / max|tanh w|  (k > 1), 1 (k = 1);
               dq/dx = 1 inside [0, 1], else 0
    shapes     x any
    start      nothing; schedule none
    deviates   max|tanh w| and mean|w| are constants in the backward; gradients are not quantized
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Zhou et al., 2016, arXiv:1606.06160"

    @property
    def steps(self) -> int:
        """Intervals between neighbouring levels."""
        return self.levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        if self.target == "activation":
            clipped = x.clamp(0.0, 1.0)
            return with_gradient(clipped, self._levels(self._index(clipped.detach())))
        if self.bit_width == 1:
            return with_gradient(x, sign(x.detach()) * _mean(x))
        unit = self._unit(x)
        return with_gradient(2 * unit, self._levels(self._index(unit.detach())))

    def _unit(self, weight: Tensor) -> Tensor:
        squashed = weight.tanh()
        largest = squashed.detach().abs().max().clamp_min(1e-8)
        return squashed / (2 * largest) + 0.5

    def _index(self, unit: Tensor) -> Tensor:
        return (unit * self.steps).round()

    def _levels(self, index: Tensor) -> Tensor:
        unit = index / self.steps
        return unit if self.target == "activation" else 2 * unit - 1

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        x = x.detach()
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        if self.target == "activation":
            return self._index(x.clamp(0.0, 1.0)).long(), self._levels(index)
        if self.bit_width == 1:
            return (x >= 0).long(), (2 * index - 1) * _mean(x)
        return self._index(self._unit(x)).long(), self._levels(index)


def _mean(weight: Tensor) -> Tensor:
    return weight.detach().abs().mean().clamp_min(1e-8)
