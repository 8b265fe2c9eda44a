"""PARQ: a piecewise-affine map whose slope grows until it is a staircase."""

import math

import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.binary_basis import Cells, cells, residual_levels
from qbench.quantizers.contract import Progress, Quantizer, Target
from qbench.quantizers.functional import with_gradient
from qbench.registry import quantizers

__all__ = ["PARQ"]


@quantizers.register("parq")
class PARQ(Quantizer):
    """Piecewise-affine steps between levels, which steepen until they round.

    Jin, Ma, Liu, Gromov, Defazio, Xiao, "PARQ: Piecewise-Affine Regularized Quantization",
    ICML 2025, arXiv:2503.15748; code facebookresearch/parq.

    forward    q = clip(m + (w - m) / rho, lo, hi), lo and hi the levels around w, m their middle:
               the proximal map of a piecewise-affine regulariser; rho = 1 leaves w within the
               levels as it is, rho = 0 takes the nearest level, a tie goes up
               levels +-v_1 +- … +-v_k, v_i = mean|r_i| of the output channel,
               r_1 = w, r_{i+1} = r_i - v_i sign(r_i)
    backward   dq/dw = 1, levels are constants: the map moves into the forward, and the recipe's
               optimizer on w makes the steps of the proximal one (no plug-in is needed)
    shapes     w [channels, …]; levels [channels, 2^k]
    start      nothing
    schedule   rho = (S(u) - S(1)) / (S(0) - S(1)), S(u) = 1 / (1 + exp(steepness (u - 1/2))),
               u the share done of the first ``anneal_over`` of training; then rho = 0
    deviates   levels are fitted anew in each forward (published code: every 10 steps); the deployed
               level is the nearest, where the code takes the greedy one, which differs for up to
               13 % of the weights at 3 and 4 bits; annealing starts with the first step
    cost       k means and a search among the levels; nothing of the weight's size is kept
    """

    bits = {"weight": (1, 2, 3, 4)}
    paper = "Jin et al., ICML 2025, arXiv:2503.15748"
    family = "proximal"
    trains_hard = False
    search = {
        "steepness": {"low": 1.0, "high": 100.0, "log": True},
        "anneal_over": [0.5, 0.75, 0.9, 1.0],
    }
    components = {"annealing": {"anneal_over": 0.0}}

    softness: Tensor
    """1 at the start, 0 once annealed: rho."""

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        steepness: float = 10.0,
        anneal_over: float = 0.75,
    ) -> None:
        """Make the quantizer of one weight.

        Raises:
            UsageError: An option is out of its range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0 < steepness <= 500 or not 0 <= anneal_over <= 1:
            raise UsageError(
                f"steepness={steepness:g} and anneal_over={anneal_over:g}: steepness must be "
                "above 0 and at most 500, anneal_over from 0 to 1"
            )
        self.steepness, self.anneal_over = steepness, anneal_over
        self.register_buffer("softness", torch.tensor(1.0 if anneal_over else 0.0))

    def set_progress(self, progress: Progress) -> None:
        """Set rho."""
        over = self.anneal_over
        done = min(progress.fraction / over, 1.0) if over else 1.0
        self.softness.fill_(self.left(done))

    def left(self, done: float) -> float:
        """Rho, a pure function of the share of the annealing that is done, from 1 to 0."""
        first, last = _falling(0.0, self.steepness), _falling(1.0, self.steepness)
        return (_falling(done, self.steepness) - last) / (first - last)

    def readings(self) -> dict[str, Tensor]:
        """Rho."""
        return {"softness": self.softness}

    def forward(self, x: Tensor) -> Tensor:
        """The relaxed weight, with an identity gradient."""
        weight = x.detach()
        return with_gradient(x, self.relaxed(weight, self._cells(weight)))

    def relaxed(self, weight: Tensor, around: Cells) -> Tensor:
        """The proximal map of the weight, given the levels around it."""
        middle = around.middle
        steep = (weight - middle) / self.softness.clamp_min(1e-12) + middle
        soft = torch.clamp(steep, around.low, around.high)
        return torch.where(self.softness > 0, soft, around.nearest(weight))

    def _cells(self, weight: Tensor) -> Cells:
        return cells(weight, residual_levels(weight, self.bit_width))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the nearest levels, and levels ``[channels, 2^k]``."""
        weight = x.detach()
        levels = residual_levels(weight, self.bit_width)
        around = cells(weight, levels)
        return around.lower + around.above(weight).long(), levels


def _falling(done: float, steepness: float) -> float:
    return 1 / (1 + math.exp(steepness * (done - 0.5)))
