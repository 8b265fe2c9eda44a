"""ProxQuant: after each step a proximal map pulls the float weights towards their levels."""

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import Progress, Quantizer, Target
from qbench.quantizers.functional import sign
from qbench.quantizers.ternary import mean_of, ternary_codes
from qbench.registry import quantizers

__all__ = ["ProxQuant"]


@quantizers.register("proxquant")
class ProxQuant(Quantizer):
    """Float training with a pull towards the levels after each step, then frozen levels.

    Bai, Wang, Liberty, "ProxQuant: Quantized Neural Networks via Proximal Operators", ICLR 2019,
    arXiv:1810.00861; code allenbai01/ProxQuant.

    forward    q = w; once frozen, q = Q(w)
    backward   dq/dw = 1; once frozen, none: batch norm and float layers train on
    after step 1 bit:  w <- s + sign(w - s) max(|w - s| - lambda, 0),  s = sign(w)
               2 bits: w <- (w + lambda Q(w)) / (1 + lambda)
               then w is clipped to [-1, 1]
    levels     1 bit: -1, 1;  2 bits: -n, 0, p, means of the weights below -D and above D,
               D = 0.7 mean|w| of the layer
    start      nothing; the paper starts from a trained float network
    schedule   lambda grows linearly until ``freeze_at`` of training, where w is frozen;
               the lambdas of all steps add up to ``pull``
    deviates   lambda does not depend on the learning rate: the code has rate x 1e-4 x epoch, which
               adds up to 7.8 in its 200 epochs at rate 0.01, and would to nothing in a short
               training; sign(0) = +1, where the code leaves w = 0 at 0
    cost       a few kernels of the weight's size, after the step
    """

    bits = {"weight": (1, 2)}
    paper = "Bai et al., ICLR 2019, arXiv:1810.00861"
    family = "proximal"
    trains_hard = False
    search = {
        "pull": {"low": 0.5, "high": 64.0, "log": True},
        "freeze_at": [0.5, 0.667, 0.8],
    }
    components = {"prox": {"pull": 0.0}}

    strength: Tensor
    """Lambda of the running step."""

    def __init__(
        self, *, bit_width: int, target: Target, pull: float = 8.0, freeze_at: float = 0.667
    ) -> None:
        """Make the quantizer of one weight.

        Raises:
            UsageError: An option is out of its range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not pull >= 0 or not 0 < freeze_at <= 1:
            raise UsageError(
                f"proxquant: pull={pull:g} and freeze_at={freeze_at:g}; pull must be 0 or more, "
                "freeze_at above 0 and at most 1"
            )
        self.pull, self.freeze_at = pull, freeze_at
        self.frozen = False
        self.register_buffer("strength", torch.zeros(()))

    @property
    def levels(self) -> int:
        """2 or 3."""
        return self.bit_width + 1

    @property
    def structure(self) -> Hashable:
        """Whether the weight is frozen."""
        return self.frozen

    def set_progress(self, progress: Progress) -> None:
        """Set lambda, and freeze."""
        self.frozen = progress.fraction >= self.freeze_at
        last = max(self.freeze_at * progress.total_steps, 1.0)
        self.strength.fill_(2 * self.pull * (progress.step + 1) / (last * (last + 1)))

    def readings(self) -> dict[str, Tensor]:
        """Lambda."""
        return {"strength": self.strength}

    def forward(self, x: Tensor) -> Tensor:
        """The weight itself, or its frozen levels, which have no gradient."""
        return self.deployed(x) if self.frozen else x

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Pull the weight towards its levels, in place."""
        if not self.frozen:
            weight.copy_(self.pulled(weight, self.strength).clamp_(-1.0, 1.0))

    def pulled(self, weight: Tensor, strength: Tensor) -> Tensor:
        """The proximal map with lambda = ``strength``, a 0-dim tensor."""
        if self.bit_width == 2:
            return (weight + strength * self.deployed(weight)) / (1 + strength)
        return weight - torch.clamp(weight - sign(weight), -strength, strength)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and levels ``[2]`` or ``[3]``."""
        weight = x.detach()
        if self.bit_width == 1:
            ends = torch.arange(-1, 2, 2, dtype=weight.dtype, device=weight.device)
            return (weight >= 0).long(), ends
        row = weight.reshape(1, -1)
        threshold = 0.7 * row.abs().mean()
        below, above = mean_of(row, row < -threshold), mean_of(row, row > threshold)
        levels = torch.cat([below, torch.zeros_like(below), above], 1)
        return ternary_codes(weight, threshold), levels[0]
