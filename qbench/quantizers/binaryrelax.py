"""BinaryRelax: the forward weight is a mixture of the weight and its level."""

import torch
from torch import Tensor

from qbench.quantizers.binary_basis import Cells
from qbench.quantizers.contract import Target
from qbench.quantizers.parq import PARQ
from qbench.registry import quantizers

__all__ = ["BinaryRelax"]


@quantizers.register("binaryrelax")
class BinaryRelax(PARQ):
    """A mixture of each weight and its nearest level, in which the level's share grows to 1.

    Yin, Zhang, Lyu, Osher, Qi, Xin, "BinaryRelax: A Relaxation Approach for Training Deep Neural
    Networks with Quantized Weights", SIAM J. Imaging Sciences 2018, arXiv:1801.06313.

    forward    q = (w + lambda Q(w)) / (1 + lambda) = (1 - theta) w + theta Q(w): the proximal map
               of the squared distance to the levels; Q takes the nearest of the levels of ``parq``
    backward   dq/dw = 1, levels are constants
    shapes     w [channels, …]; levels [channels, 2^k]
    start      nothing
    schedule   theta = lambda / (1 + lambda) from 0 to 1, linear over the first ``anneal_over`` of
               training; then q = Q(w)
    deviates   the schedule is that of parq's published code (the paper multiplies lambda by a
               constant each epoch, and rounds in the last ones); levels are those of ``parq``, a
               set a channel, where the paper has one a layer
    cost       that of ``parq``
    """

    bits = {"weight": (1, 2, 3, 4)}
    paper = "Yin et al., SIAM J. Imaging Sciences 2018, arXiv:1801.06313"
    family = "proximal"
    provenance = "recalled"
    trains_hard = False
    search = {"anneal_over": [0.5, 0.75, 0.9, 1.0]}
    components = {"annealing": {"anneal_over": 0.0}}

    def __init__(self, *, bit_width: int, target: Target, anneal_over: float = 0.75) -> None:
        """Make the quantizer of one weight; ``anneal_over`` is a share from 0 to 1."""
        super().__init__(bit_width=bit_width, target=target, anneal_over=anneal_over)

    def left(self, done: float) -> float:
        """1 - theta."""
        return 1 - done

    def relaxed(self, weight: Tensor, around: Cells) -> Tensor:
        """The mixture; at theta = 1 it is the level, bit for bit."""
        return torch.lerp(weight, around.nearest(weight), 1 - self.softness)
