"""LSQ: the step size is a parameter, trained with the task loss."""

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.functional import scale_gradient, with_gradient
from qbench.registry import quantizers

__all__ = ["LSQ"]


@quantizers.register("lsq")
class LSQ(Quantizer):
    """Learned step size, trained with the task loss.

    Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153.

    forward    q = step * round(clip(x / step, -N, P))
               signed: N = 2^(k-1), P = 2^(k-1) - 1;  unsigned: N = 0, P = 2^k - 1
    backward   dq/dx    = 1 inside the clip range (ends included), else 0
               dq/dstep = round(v) - v inside, -N or P outside,  v = x / step,
               multiplied by 1 / sqrt(n P), n the weights of the layer or features of the input
    shapes     x any, step scalar
    start      step = 2 mean|x| / sqrt(P), of the weight or the first batch; activations without a
               negative value in that batch are unsigned
    schedule   none
    deviates   |step| is used, at least 1e-8, so that the grid cannot flip or collapse
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Esser et al., ICLR 2020, arXiv:1902.08153"
    family = "learned levels"

    lowest: Tensor
    highest: Tensor

    def __init__(self, *, bit_width: int, target: Target, gradient_scale: bool = True) -> None:
        """Make the quantizer of one tensor; ``gradient_scale`` switches the factor 1/sqrt(n P)."""
        super().__init__(bit_width=bit_width, target=target)
        self.gradient_scale = gradient_scale
        self.step = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("lowest", torch.tensor(-(2.0 ** (bit_width - 1))))
        self.register_buffer("highest", torch.tensor(2.0 ** (bit_width - 1) - 1))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the step, and the range of activations."""
        if self.target == "activation" and not bool((x < 0).any()):
            self.lowest.zero_()
            self.highest.fill_(2.0**self.bit_width - 1)
        start = 2 * x.detach().abs().mean() / self.highest.sqrt()
        self.step.data.copy_(start.clamp_min(1e-8))

    def _gradient_factor(self, x: Tensor) -> Tensor:
        count = x.numel() if self.target == "weight" else x[0].numel()
        return torch.rsqrt(count * self.highest)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x`` to multiples of the step."""
        step = self.step.abs().clamp_min(1e-8)
        if self.gradient_scale:
            step = scale_gradient(step, self._gradient_factor(x))
        clipped = torch.clamp(x / step, self.lowest, self.highest)
        return with_gradient(clipped, clipped.detach().round()) * step

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        step = self.step.detach().abs().clamp_min(1e-8)
        rounded = torch.clamp(x.detach() / step, self.lowest, self.highest).round()
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        return (rounded - self.lowest).long(), (index + self.lowest) * step

    def parameter_groups(self) -> list[ParameterGroup]:
        """The step is trained like the weights, their decay included (paper, section 3)."""
        return [ParameterGroup((self.step,), weight_decay=None)]
