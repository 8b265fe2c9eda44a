"""QIL: an interval of magnitudes is learned; what is below is pruned, what is above is clipped."""

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.functional import sign, with_gradient
from qbench.quantizers.ste import GAUSSIAN_CLIP
from qbench.registry import quantizers

__all__ = ["QIL"]


@quantizers.register("qil")
class QIL(Quantizer):
    """A learned quantization interval: a linear map to [0, 1] that prunes and clips at once.

    Jung et al., "Learning to Quantize Deep Networks by Optimizing Quantization Intervals with Task
    Loss", CVPR 2019, arXiv:1808.05779.

    forward    y = clip((m - c + d) / (2 d), 0, 1),  q = round(N y) / N;
               weights:  m = |w|, times sign(w), N = 2^(k-1) - 1: 2^k - 1 levels in [-1, 1];
               activations:  m = x,  N = 2^k - 1
    backward   through round: 1;  dy/dm = 1 / (2 d) for c - d <= m <= c + d, else 0;
               dy/dc = -1 / (2 d),  dy/dd = (c - m) / (2 d^2) there
    shapes     x any; c and d, centre and half width, scalars
    start      c = d: the interval is [0, c + d], and ends at the clip of least squared error for
               Gaussian values of the weight's or the first batch's mean square
    schedule   none; c and d have their own Adam, rate 1e-4, no decay, with the recipe's schedule
    deviates   the weights' exponent gamma is 1, as in the available code, where its training is
               unstable; unsigned activations are clipped, which that code misses; the start and
               the optimizer of c and d are ours; the paper goes down from 5 bits by stages; |d|
               is used, with a floor
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Jung et al., CVPR 2019, arXiv:1808.05779"
    family = "learned levels"
    provenance = "recalled"
    search = {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}

    def __init__(self, *, bit_width: int, target: Target, learning_rate: float = 1e-4) -> None:
        """Make the quantizer of one tensor; ``learning_rate`` is that of c and d."""
        super().__init__(bit_width=bit_width, target=target)
        self.learning_rate = learning_rate
        self.steps: int = 2 ** (bit_width - 1) - 1 if target == "weight" else 2**bit_width - 1
        self.centre = nn.Parameter(torch.tensor(0.5))
        self.half_width = nn.Parameter(torch.tensor(0.5))

    @property
    def levels(self) -> int:
        """``2^k - 1`` of weights, ``2^k`` of activations."""
        return 2 * self.steps + 1 if self.target == "weight" else self.steps + 1

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the interval."""
        # Inputs after a ReLU have one half of the levels of a symmetric grid with a bit more.
        bits = self.bit_width + (self.target == "activation")
        clip = GAUSSIAN_CLIP[min(bits, len(GAUSSIAN_CLIP)) - 1]
        half = clip * x.detach().square().mean().sqrt().clamp_min(1e-6) / 2
        self.centre.data.copy_(half)
        self.half_width.data.copy_(half)

    def _unit(self, magnitude: Tensor) -> Tensor:
        width = 2 * self.half_width.abs().clamp_min(1e-8)
        return torch.clamp((magnitude - self.centre) / width + 0.5, 0.0, 1.0)

    def _index(self, unit: Tensor) -> Tensor:
        return (unit * self.steps).round()

    def forward(self, x: Tensor) -> Tensor:
        """Map to the interval and round."""
        if self.target == "activation":
            unit = self._unit(x)
            return with_gradient(unit, self._index(unit.detach()) / self.steps)
        signs = sign(x.detach())
        unit = self._unit(x * signs)
        return with_gradient(unit, self._index(unit.detach()) / self.steps) * signs

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        if self.target == "activation":
            index, zero = self._index(self._unit(x)), 0
        else:
            index, zero = self._index(self._unit(x.abs())) * sign(x) + self.steps, self.steps
        values = torch.arange(self.levels, dtype=x.dtype, device=x.device) - zero
        return index.long(), values / self.steps

    def parameter_groups(self) -> list[ParameterGroup]:
        """The interval: Adam at its own rate, no decay."""
        return [ParameterGroup((self.centre, self.half_width), "adam", self.learning_rate)]
