"""TTQ: ternary weights whose two values are trained."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import Quantizer, Target
from qbench.quantizers.ternary import ternary_codes
from qbench.registry import quantizers

__all__ = ["TTQ"]


class _TrainedTernary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, positive: Tensor, negative: Tensor, codes: Tensor) -> Tensor:
        above, below = codes == 2, codes == 0
        ctx.save_for_backward(positive, negative, above, below)
        value = torch.where(above, positive, torch.where(below, -negative, 0.0))
        return value.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        positive, negative, above, below = ctx.saved_tensors
        slope = torch.where(above, positive, torch.where(below, negative, 1.0))
        positive_gradient = torch.where(above, gradient, 0.0).sum()
        negative_gradient = -torch.where(below, gradient, 0.0).sum()
        return gradient * slope, positive_gradient, negative_gradient, None


@quantizers.register("ttq")
class TTQ(Quantizer):
    """Trained ternary weights: the positive and the negative value are parameters of the layer.

    Zhu, Han, Mao, Dally, "Trained Ternary Quantization", ICLR 2017, arXiv:1612.01064; code
    czhu95/ternarynet.

    forward    q = Wp where w > D, -Wn where w < -D, else 0;  D = 0.05 max|w| of the layer
    backward   dq/dw = Wp, Wn or 1, in these three;  dL/dWp = sum of g where w > D,
               dL/dWn = -sum of g where w < -D
    shapes     w any; Wp, Wn scalars
    start      w is divided by max|w| (the paper: normalised to [-1, 1]); Wp = Wn = 1 (its code)
    schedule   none; Wp and Wn have the recipe's optimizer and no weight decay
    deviates   |Wp| and |Wn| are used, at least 1e-8, so that levels cannot change their order
    """

    bits = {"weight": (2,)}
    paper = "Zhu et al., ICLR 2017, arXiv:1612.01064"
    family = "learned levels"
    search = {"threshold": {"low": 0.01, "high": 0.3, "log": True}}
    note = "three levels: 2 bits a weight are stored, of whose four codes one is not used"

    def __init__(self, *, bit_width: int, target: Target, threshold: float = 0.05) -> None:
        """Make the quantizer of one weight; ``threshold`` is D in units of max|w|.

        Raises:
            UsageError: The threshold leaves no weight, or is negative.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0 <= threshold < 1:
            raise UsageError(
                f"ttq: threshold={threshold:g} is out of range; choose 0 or more, and less than 1"
            )
        self.threshold = threshold
        self.positive = nn.Parameter(torch.tensor(1.0))
        self.negative = nn.Parameter(torch.tensor(1.0))

    @property
    def levels(self) -> int:
        """3."""
        return 3

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Normalise the weight, in place, and set both values to 1."""
        x.div_(x.abs().max().clamp_min(1e-8))
        self.positive.fill_(1.0)
        self.negative.fill_(1.0)

    def _codes(self, weight: Tensor) -> Tensor:
        return ternary_codes(weight, self.threshold * weight.abs().max())

    def _values(self) -> tuple[Tensor, Tensor]:
        return self.positive.abs().clamp_min(1e-8), self.negative.abs().clamp_min(1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """The ternary weight."""
        result: Tensor = _TrainedTernary.apply(  # type: ignore[no-untyped-call]
            x, *self._values(), self._codes(x.detach())
        )
        return result

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and levels ``-Wn, 0, Wp``."""
        positive, negative = (value.detach() for value in self._values())
        codebook = torch.stack([-negative, torch.zeros_like(positive), positive])
        return self._codes(x.detach()), codebook
