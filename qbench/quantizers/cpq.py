"""CPQ: the most likely grid point, with the gradient of the mean; DropBits takes bits away."""

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Target
from qbench.quantizers.drop_bits import BitMask
from qbench.quantizers.relaxed_rounding import relaxed_rounding
from qbench.quantizers.rq import RQ, WINDOW
from qbench.registry import quantizers

__all__ = ["CPQ"]


@quantizers.register("cpq")
class CPQ(RQ):
    """Cluster-promoting quantization: rounds, and trains through the mean (reconstruction).

    Lee, Kim, Hwang, Yang, "Cluster-Promoting Quantization with Bit-Drop for Minimizing Network
    Quantization Loss", ICCV 2021, arXiv:2109.02100. From its abstract and from notes: the
    probabilities of ``rq``, the most likely point forward, a straight-through gradient of several
    classes, and masks on outer points of the weights' grid. All else is our choice.

    forward    q = alpha argmax_i p_i, the nearest point; p as in ``rq``; weights have the grid
               -(2^(k-1) - 1) .. 2^(k-1) - 1, which is symmetric, inputs that of ``rq``
    backward   of alpha sum_i p_i i, in x, alpha and sigma: d one-hot / dp = 1 (multi-class STE)
    drop_bits  p_i m_r(i) in place of p_i, of weights; ring r = 3 .. k holds the points that r bits
               have more than r - 1; m_r = M_3 .. M_r, M ~ hard concrete (beta 2/3, -0.1, 1.1) drawn
               in each step, with a trained logit from 2 on; rings whose mean mask is 0 are dropped
               in evaluation and when deployed
    penalty    drop_penalty sum_r P(m_r > 0), of layers with masks
    shapes     x any; alpha, sigma scalars; logits [k - 2]
    start      that of ``rq``
    schedule   none; all own parameters have Adam at 1e-3, no decay
    deviates   all beyond the abstract, so the paper's numbers cannot be expected; 2-bit weights
               have no ring, so nothing is dropped there
    cost       that of ``rq`` without random numbers, with all points of the weights' grid
    """

    bits = {"weight": (2, 3, 4), "activation": (2, 3, 4)}
    paper = "Lee et al., ICCV 2021, arXiv:2109.02100"
    family = "stochastic"
    provenance = "reconstruction"
    search = {}  # those of rq are no options here
    note = "reconstruction from the abstract and from notes: the paper's method text was not seen"
    stochastic = True  # with drop_bits

    def __init__(
        self, *, bit_width: int, target: Target, drop_bits: bool = False, drop_penalty: float = 0.0
    ) -> None:
        """Make the quantizer of one tensor.

        Raises:
            UsageError: The penalty is negative.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not drop_penalty >= 0:
            raise UsageError(f"cpq: drop_penalty={drop_penalty:g} is not allowed; write 0 or more")
        self.drop_penalty = drop_penalty
        if target == "weight":
            self.lowest.copy_(-self.highest)
        dropped = drop_bits and target == "weight" and bit_width > 2
        self.mask = BitMask(bit_width) if dropped else None
        self.trains_hard = self.exact_at_end = not dropped

    @property
    def levels(self) -> int:
        """``2^k - 1`` of weights, ``2^k`` of inputs."""
        return int(2**self.bit_width) - (1 if self.target == "weight" else 0)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Start as rq does, with all bits."""
        if self.mask is not None:
            self.mask.reset()
        super().initialize(x, layer, inputs)

    def _rounded(self, v: Tensor) -> Tensor:
        lowest, highest = self._ends()
        return torch.clamp(v.round(), lowest, highest)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """The outermost points that are deployed."""
        if self.mask is None:
            return self.lowest, self.highest
        highest = self.mask.highest_kept()
        return -highest, highest

    def _drawn(self, v: Tensor, spread: Tensor) -> Tensor:
        if self.mask is not None and self.training:
            return relaxed_rounding(
                v, spread, self.mask.drawn(), lowest=self.lowest, highest=self.highest,
                window=self.levels, hard=True,
            )  # fmt: skip
        lowest, highest = self._ends()
        window = self.levels if self.target == "weight" else min(self.levels, WINDOW)
        if self.mask is not None:
            window = 3  # as many points as are always kept
        return relaxed_rounding(v, spread, lowest=lowest, highest=highest, window=window, hard=True)

    def penalty(self, x: Tensor) -> Tensor | None:
        """The expected number of kept rings, times its weight."""
        if self.mask is None or not self.drop_penalty:
            return None
        return self.drop_penalty * self.mask.expected()

    def parameter_groups(self) -> list[ParameterGroup]:
        """All that it trains, by Adam, without decay."""
        return [ParameterGroup(tuple(self.parameters()), "adam", 1e-3)]
