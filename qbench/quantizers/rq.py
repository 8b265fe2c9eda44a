"""Relaxed Quantization: the grid point is drawn, softly enough to have a gradient."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.relaxed_rounding import relaxed_rounding
from qbench.registry import quantizers

__all__ = ["RQ"]

WINDOW = 5
"""Grid points around a value that can come out: at the first noise all but 0.1 % of what would."""
LEAST_SPREAD = 0.01
"""The least noise in steps: below it the slope at a threshold grows without bound."""


@quantizers.register("rq")
class RQ(Quantizer):
    """Relaxed quantization: noise before rounding, and a relaxed sample of what comes out.

    Louizos, Reisser, Blankevoort, Gavves, Welling, "Relaxed Quantization for Discretized Neural
    Networks", ICLR 2019, arXiv:1810.01875.

    forward    p_i = F((i + 1/2 - v) / s) - F((i - 1/2 - v) / s), v = x / alpha, s = sigma / alpha,
               F the logistic function, over the 5 grid points nearest to v, normalised;
               z = softmax((log p + Gumbel noise) / temperature),  q = alpha sum_i z_i i
               grid -2^(k-1) .. 2^(k-1) - 1, or 0 .. 2^k - 1 for inputs without a sign
               ``sample: hard``: q = alpha argmax_i z_i (RQ-ST)
               in evaluation, and deployed: alpha times the nearest i
    backward   of the relaxed sample, in x, alpha and sigma; of the hard one too
    shapes     x any; alpha, sigma scalars
    start      alpha has the least squared error on the weight or the first batch; sigma = alpha / 3
    schedule   none; log alpha and log sigma have Adam at 1e-3, no decay
    deviates   v is held inside the outermost cells, where all p_i would round to 0, so that values
               beyond have no gradient; s is at least 0.01; the temperature is our choice; log p
               is F F up to a constant, which saturates nowhere
    cost       5 values and 15 transcendental functions an element, two tensors like x kept
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Louizos et al., ICLR 2019, arXiv:1810.01875"
    family = "stochastic"
    stochastic = True
    trains_hard = False
    exact_at_end = False
    search = {"temperature": {"low": 0.1, "high": 2.0, "log": True}}

    lowest: Tensor
    highest: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        sample: Literal["relaxed", "hard"] = "relaxed",
        temperature: float = 0.67,
    ) -> None:
        """Make the quantizer of one tensor.

        Raises:
            UsageError: The temperature is out of its range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0.01 <= temperature <= 100:
            raise UsageError(
                f"{type(self).__name__}: temperature={temperature:g} is out of range; choose a "
                "value from 0.01 to 100"
            )
        self.hard, self.temperature = sample == "hard", temperature
        self.log_step = nn.Parameter(torch.tensor(0.0))
        self.log_noise = nn.Parameter(torch.tensor(-math.log(3.0)))
        half = 2.0 ** (bit_width - 1)
        self.register_buffer("lowest", torch.tensor(-half))
        self.register_buffer("highest", torch.tensor(half - 1))

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Choose the grid of inputs, the step of least squared error, and the noise."""
        if self.target == "activation" and not bool((x < 0).any()):
            self.lowest.zero_()
            self.highest.fill_(2.0**self.bit_width - 1)
        self.log_step.copy_(self._best_step(x.detach()).log())
        self.log_noise.copy_(self.log_step - math.log(3.0))

    def _best_step(self, x: Tensor) -> Tensor:
        sample = x.flatten()[:: max(1, x.numel() // 65_536)]
        largest = sample.abs().max().clamp_min(1e-7) / self.highest
        candidates = torch.linspace(0.02, 1.0, 50, device=x.device) * largest
        rounded = [step * self._rounded(sample / step) for step in candidates]
        errors = torch.stack([(value - sample).square().mean() for value in rounded])
        return candidates[errors.argmin()]

    @property
    def step(self) -> Tensor:
        """Alpha, 0-dim."""
        return self.log_step.exp().clamp_min(1e-9)

    def readings(self) -> dict[str, Tensor]:
        """Alpha and sigma."""
        return {"step": self.step, "noise": self.log_noise.exp()}

    def _rounded(self, v: Tensor) -> Tensor:
        return torch.clamp(v.round(), self.lowest, self.highest)

    def forward(self, x: Tensor) -> Tensor:
        """A relaxed or hard sample in training, the nearest level in evaluation."""
        step = self.step
        spread = (self.log_noise.exp() / step).clamp_min(LEAST_SPREAD)
        return step * self._drawn(x / step, spread)

    def _drawn(self, v: Tensor, spread: Tensor) -> Tensor:
        """What comes out of ``v``, in steps."""
        return relaxed_rounding(
            v, spread, lowest=self.lowest, highest=self.highest, window=min(self.levels, WINDOW),
            temperature=self.temperature, sampled=self.training,
            hard=self.hard or not self.training,
        )  # fmt: skip

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the nearest grid points, and levels ``[levels]``."""
        step = self.step
        index = torch.arange(self.levels, dtype=step.dtype, device=step.device)
        codes = self._rounded(x / step) - self.lowest
        return codes.long(), (index + self.lowest) * step

    def parameter_groups(self) -> list[ParameterGroup]:
        """Step and noise are trained by Adam, without decay."""
        return [ParameterGroup((self.log_step, self.log_noise), "adam", 1e-3)]
