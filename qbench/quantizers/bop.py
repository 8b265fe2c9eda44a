"""Bop: no latent weights; a sign flips when its gradient has pointed that way for long enough."""

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.binary import SignQuantizer
from qbench.quantizers.contract import Progress, Target
from qbench.registry import quantizers

__all__ = ["Bop"]


@quantizers.register("bop")
class Bop(SignQuantizer):
    """Weights are signs, and flip where the average gradient is strong and agrees with them.

    Helwegen et al., "Latent Weights Do Not Exist", NeurIPS 2019, arXiv:1906.02107.

    forward    q = w, which is -1 or 1 from the start on
    backward   dq/dw = 1: g = dL/dq
    update     m <- (1 - gamma) m + gamma g;  w <- -w where |m| > threshold and sign m = sign w;
               no optimizer touches w
    shapes     w any; m like w
    start      w <- sign(w) of the float weights, sign(0) = +1; m = 0
    schedule   gamma falls to a tenth after each of ``stages`` equal shares of training
    deviates   the paper's CIFAR-10 network trains for 500 epochs at these values; fewer steps
               want a larger gamma; m is bound to the loss's scale, so threshold is as well
    """

    bits = {"weight": (1,)}
    paper = "Helwegen et al., NeurIPS 2019, arXiv:1906.02107"
    family = "latent-free"
    provenance = "verified"
    owns_update = True
    search = {
        "gamma": {"low": 1e-5, "high": 1e-2, "log": True},
        "threshold": {"low": 1e-9, "high": 1e-5, "log": True},
    }

    average: Tensor
    rate: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        gamma: float = 1e-4,
        threshold: float = 1e-8,
        stages: int = 5,
    ) -> None:
        """Make the quantizer of one weight.

        Raises:
            UsageError: An option is out of range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0 <= gamma <= 1 or threshold < 0 or stages < 1:
            raise UsageError(
                f"bop: gamma={gamma}, threshold={threshold} and stages={stages}; gamma must lie in "
                "[0, 1], the threshold must be 0 or more and stages 1 or more"
            )
        self.gamma, self.threshold, self.stages = gamma, threshold, stages
        self.register_buffer("rate", torch.tensor(gamma), persistent=False)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Make signs of the weight itself."""
        x.copy_(torch.where(x >= 0, 1.0, -1.0))
        self.register_buffer("average", torch.zeros_like(x.detach()))

    def set_progress(self, progress: Progress) -> None:
        """Set gamma."""
        stage = min(int(progress.fraction * self.stages), self.stages - 1)
        self.rate.fill_(self.gamma * 0.1**stage)

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Take the gradient in, and flip."""
        if weight.grad is None:  # of a weight that the loss does not depend on
            return
        self.average.lerp_(weight.grad, self.rate)
        flips = self.average * weight > self.threshold
        weight.copy_(torch.where(flips, -weight, weight))
        weight.grad = None  # no optimizer clears it
