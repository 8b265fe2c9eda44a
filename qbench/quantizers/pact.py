"""PACT: activations are clipped where training wants it; weights are those of DoReFa."""

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Target
from qbench.quantizers.dorefa import DoReFa
from qbench.quantizers.functional import with_gradient
from qbench.registry import quantizers

__all__ = ["PACT"]


@quantizers.register("pact")
class PACT(DoReFa):
    """A learned clip of activations, trained with the task loss and decayed like the weights.

    Choi et al., "PACT: Parameterized Clipping Activation", 2018, arXiv:1805.06085.

    forward    activations:  q = clip / n * round(n y / clip),  y = min(max(x, 0), clip),
               n = 2^k - 1;  weights:  those of DoReFa
    backward   dq/dx = 1[0 <= x < clip],  dq/dclip = 1[x >= clip]
    shapes     x any, clip scalar
    start      clip = ``initial_clip``, far out, whatever the data are
    schedule   none; the clip has the recipe's rate and weight decay
    deviates   |clip| is used, at least 1e-8; the paper's L2 term, lambda clip^2 with the weights'
               lambda, is taken as their decay; published code has x > clip in dq/dclip
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Choi et al., 2018, arXiv:1805.06085"
    family = "learned levels"
    provenance = "verified"
    search = {"initial_clip": {"low": 2.0, "high": 12.0}}

    def __init__(self, *, bit_width: int, target: Target, initial_clip: float = 8.0) -> None:
        """Make the quantizer of one tensor; ``initial_clip`` is where the clip starts.

        Raises:
            UsageError: It is not positive.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not initial_clip > 0:
            raise UsageError(f"pact: initial_clip={initial_clip:g}; choose a value above 0")
        if target == "activation":
            self.clip = nn.Parameter(torch.tensor(initial_clip))

    def _clip(self) -> Tensor:
        return self.clip.abs().clamp_min(1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        if self.target == "weight":
            return super().forward(x)
        clip = self._clip()
        clipped = torch.where(x < clip, x.clamp_min(0.0), clip)
        index = self._index(clipped.detach() / clip.detach())
        return with_gradient(clipped, self._levels(index) * clip.detach())

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        if self.target == "weight":
            return super().codes(x)
        clip = self._clip().detach()
        index, unit_levels = super().codes(torch.where(x < clip, x.clamp_min(0.0), clip) / clip)
        return index, unit_levels * clip

    def parameter_groups(self) -> list[ParameterGroup]:
        """The clip is trained and decayed like the weights."""
        return [ParameterGroup((self.clip,), weight_decay=None)] if self.target != "weight" else []
