"""TWN: ternary weights whose threshold and scale approximate the float weight."""

from typing import Literal

import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.contract import Quantizer, Target
from qbench.quantizers.functional import with_gradient
from qbench.quantizers.ternary import mean_of, ternary_codes
from qbench.registry import quantizers

__all__ = ["TWN"]


@quantizers.register("twn")
class TWN(Quantizer):
    """Ternary weights: zero below a threshold, one scale above it.

    Li, Zhang, Liu, "Ternary Weight Networks", 2016, arXiv:1605.04711.

    forward    q = a sign(w) where |w| > D, else 0;  D = 0.7 mean|w|,
               a = mean of |w| where |w| > D, the least-squares scale of that choice
    backward   dq/dw = 1
    shapes     w any; D and a of the layer, or [channels] with ``scope: filter``
    start      nothing; schedule none
    deviates   nothing; a and D are constants in the backward
    """

    bits = {"weight": (2,)}
    paper = "Li et al., 2016, arXiv:1605.04711"
    family = "surrogate"
    provenance = "recalled"
    search = {"threshold": {"low": 0.3, "high": 1.1}}
    note = "three levels: 2 bits a weight are stored, of whose four codes one is not used"

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        scope: Literal["layer", "filter"] = "layer",
        threshold: float = 0.7,
    ) -> None:
        """Make the quantizer of one weight; ``threshold`` is D in units of mean|w|.

        Raises:
            UsageError: The threshold is negative.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not threshold >= 0:
            raise UsageError(f"twn: threshold={threshold:g} is not allowed; write 0 or more")
        self.scope, self.threshold = scope, threshold

    @property
    def levels(self) -> int:
        """3."""
        return 3

    def _fitted(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """D and a, ``[channels, 1]``, or ``[1, 1]`` of the layer."""
        rows = weight.detach().flatten(1)
        rows = (rows if self.scope == "filter" else rows.reshape(1, -1)).abs()
        threshold = self.threshold * rows.mean(1, keepdim=True)
        return threshold, mean_of(rows, rows > threshold)

    def _codes(self, weight: Tensor, threshold: Tensor) -> Tensor:
        return ternary_codes(weight.flatten(1), threshold).view(weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """The ternary weight."""
        return with_gradient(x, self.deployed(x))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and levels ``-a, 0, a``: ``[3]``, or ``[channels, 3]`` of filters."""
        threshold, scale = self._fitted(x)
        codebook = scale * torch.arange(-1, 2, dtype=scale.dtype, device=scale.device)
        return self._codes(x.detach(), threshold), (
            codebook if self.scope == "filter" else codebook[0]
        )
