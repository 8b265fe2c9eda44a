"""LSQ: the step size is a parameter, trained with the task loss."""

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.functional import scale_gradient, with_gradient
from qbench.quantizers.lsq_start import step_and_offset, step_for_spread
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
    options    ``offset: true`` is the method lsq_plus, which says what that changes
    deviates   |step| is used, at least 1e-8, so that the grid cannot flip or collapse
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Esser et al., ICLR 2020, arXiv:1902.08153"
    family = "learned levels"
    components = {"gradient_scale": {"gradient_scale": False}}

    lowest: Tensor
    highest: Tensor

    def __init__(
        self, *, bit_width: int, target: Target, gradient_scale: bool = True, offset: bool = False
    ) -> None:
        """Make the quantizer of one tensor.

        ``gradient_scale`` switches the factor 1/sqrt(n P), ``offset`` the parts of lsq_plus.
        """
        super().__init__(bit_width=bit_width, target=target)
        self.gradient_scale = gradient_scale
        self.starts_as_lsq_plus = offset
        self.step = nn.Parameter(torch.tensor(1.0))
        has_offset = offset and target == "activation"
        self.offset = nn.Parameter(torch.tensor(0.0)) if has_offset else None
        self.register_buffer("lowest", torch.tensor(-(2.0 ** (bit_width - 1))))
        self.register_buffer("highest", torch.tensor(2.0 ** (bit_width - 1) - 1))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the step, the offset if there is one, and the range of activations."""
        x = x.detach()
        if self.target == "activation" and (self.offset is not None or not bool((x < 0).any())):
            self.lowest.zero_()
            self.highest.fill_(2.0**self.bit_width - 1)
        if self.offset is not None:
            step, offset = step_and_offset(x, self.highest)
            self.offset.data.copy_(offset)
        elif self.starts_as_lsq_plus:
            step = step_for_spread(x, self.bit_width)
        else:
            step = 2 * x.abs().mean() / self.highest.sqrt()
        self.step.data.copy_(step.clamp_min(1e-8))

    def _gradient_factor(self, x: Tensor) -> Tensor:
        count = x.numel() if self.target == "weight" else x[0].numel()
        return torch.rsqrt(count * self.highest)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x`` to multiples of the step, from the offset on."""
        step = self.step.abs().clamp_min(1e-8)
        offset: Tensor | None = self.offset
        if self.gradient_scale:
            factor = self._gradient_factor(x)
            step = scale_gradient(step, factor)
            offset = None if offset is None else scale_gradient(offset, factor)
        if offset is None:
            return self._multiple(x, step)
        return self._multiple(x - offset, step) + offset

    def _multiple(self, x: Tensor, step: Tensor) -> Tensor:
        clipped = torch.clamp(x / step, self.lowest, self.highest)
        return with_gradient(clipped, clipped.detach().round()) * step

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        x = x.detach()
        step = self.step.detach().abs().clamp_min(1e-8)
        moved = x if self.offset is None else x - self.offset.detach()
        rounded = torch.clamp(moved / step, self.lowest, self.highest).round()
        index = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        values = (index + self.lowest) * step
        if self.offset is not None:
            values = values + self.offset.detach()
        return (rounded - self.lowest).long(), values

    def parameter_groups(self) -> list[ParameterGroup]:
        """The step is trained like the weights, their decay included (LSQ's paper, section 3)."""
        groups = [ParameterGroup((self.step,), weight_decay=None)]
        return groups if self.offset is None else [*groups, ParameterGroup((self.offset,))]
