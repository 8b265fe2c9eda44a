"""Quantization Networks: a staircase of sigmoids that hardens while it trains."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Progress, Quantizer, Target
from qbench.quantizers.level_sets import level_values, start_thresholds
from qbench.quantizers.soft_steps import nearest_needed, soft_steps
from qbench.registry import quantizers

__all__ = ["QuantizationNetworks"]

HIGHEST_TEMPERATURE = 2000.0
"""The cap of the released code."""


@quantizers.register("quantization_networks")
class QuantizationNetworks(Quantizer):
    """Soft steps between learned levels; a temperature that rises with the epoch hardens them.

    Yang, Shen, Xing, Tian, Li, Deng, Huang, Hua, "Quantization Networks", CVPR 2019,
    arXiv:1911.09464; released code aliyun/alibabacloud-quantization-networks at 05522aa.

    forward    y = alpha (Y_1 + sum_i s_i sigmoid(T (beta x - b_i))),  s_i = Y_{i+1} - Y_i
               weights Y: 1 bit {-1, 1}, 2 bits {-1, 0, 1}, 3 bits {-4, -2, -1, 0, 1, 2, 4} (or
               {-2..2} or {-3..3}, ``level_set``), k bits {-m..m}, m = 2^(k-1) - 1;
               activations {0 .. 2^k - 1}
    deployed   y = alpha (Y_1 + sum_i s_i [beta x >= b_i])
    backward   of the forward itself, in x, alpha and beta: dy/dx = alpha beta T sum_i s_i g_i
               (1 - g_i), g_i the sigmoids (the printed equations 8, 10, 11 are not its derivative);
               ``backward: released``, for 1-bit weights: g_i at T = 1, still times T
    shapes     x any; alpha, beta scalars; b [levels - 1], frozen
    start      beta = 1.25 Y_max / max|x|, alpha = 1 / beta; b midway between k-means centres of
               beta x, for weights the inner pair +-0.05, and 0 at 1 bit
    schedule   T = min(rate (epoch + 1), 2000), constant in an epoch and soft at the end;
               ``phases``: 1. weights only, inputs pass unchanged; 2. weight
               quantizers and latent weights stand still; 3. both. A quantizer's epoch counts those
               in which it trains; without both targets in one network there are no phases
    deviates   sigmoids are not clamped to +-10, ties go up (the released code: down), gradients
               are clipped where the recipe clips; activations start from the first batch, also
               where ``phases`` lets them train later; rate 5 is the paper's for 55 epochs, a short
               training ends soft: raise it by as much
    cost       n sigmoids a value, each once; with more than 8 thresholds the few nearest ones, the
               error below alpha / 1000; one tensor of the shape of x kept; no host read in a step
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Yang et al., CVPR 2019, arXiv:1911.09464"
    trains_hard = False
    exact_at_end = False

    thresholds: Tensor
    temperature: Tensor
    level_values: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        level_set: Literal["plus_minus_4", "plus_minus_2", "uniform"] = "plus_minus_4",
        temperature_rate: float = 5.0,
        backward: Literal["true", "released"] = "true",
        phases: bool = False,
        first_phase: float = 0.4,
        second_phase: float = 0.3,
    ) -> None:
        """Make the quantizer of one tensor.

        Args:
            bit_width: 1 to 8.
            target: A layer's weight or its input.
            level_set: The levels of 3-bit weights; others have one set.
            temperature_rate: Added to the temperature each epoch.
            backward: The derivative of the forward, or the released rule for 1-bit weights.
            phases: Train weights first, then activations, then both.
            first_phase: The share of the epochs for weights only.
            second_phase: The share of the epochs for activations only.

        Raises:
            UsageError: The rate is not positive, or the shares leave no third phase.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not temperature_rate > 0:
            raise UsageError(f"temperature_rate is {temperature_rate}; it must be above 0")
        if min(first_phase, second_phase) < 0 or first_phase + second_phase >= 1:
            raise UsageError(
                f"first_phase and second_phase are {first_phase} and {second_phase}; each must be "
                "0 or more and both together below 1, so that a third phase is left"
            )
        values = level_values(target, bit_width, level_set)
        self.steps = tuple(b - a for a, b in zip(values, values[1:], strict=False))
        self.lowest = values[0]
        self.rate = temperature_rate
        self.unit_slope = backward == "released" and target == "weight" and bit_width == 1
        self.phases = phases
        self.shares = (first_phase, first_phase + second_phase)
        self.phase = 3  # what it is at the end, when a finished training is loaded again
        self.started_at: tuple[float, ...] = ()  # the thresholds, where no device must be asked
        self.nearest: int | None = None
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.beta = nn.Parameter(torch.tensor(1.0))
        middles = [(a + b) / 2 for a, b in zip(values, values[1:], strict=False)]
        self.register_buffer("thresholds", torch.tensor(middles))
        self.register_buffer("temperature", torch.tensor(temperature_rate))
        self.register_buffer("level_values", torch.tensor(values), persistent=False)

    @property
    def levels(self) -> int:
        """How many levels there are: 2, 3, 5 or 7, or ``2^k - 1`` of weights, else ``2^k``."""
        return len(self.steps) + 1

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Do without phases where only weights, or only activations, are quantized this way."""
        both = len({quantizer.target for quantizer in quantizers}) == 2
        for quantizer in quantizers:
            quantizer.phases = quantizer.phases and both

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the scales from the largest value, and the thresholds from k-means."""
        beta = 1.25 * self.level_values[-1] / x.detach().abs().max().clamp_min(1e-8)
        self.beta.data.copy_(beta)
        self.alpha.data.copy_(1 / beta)
        found = start_thresholds(beta * x.detach(), len(self.steps), self.target)
        self.thresholds.copy_(found)
        self.started_at = tuple(found.tolist())

    def set_progress(self, progress: Progress) -> None:
        """Set the temperature and the phase of the running epoch; after the last, those of it."""
        epoch = max(min(progress.epoch, progress.total_epochs - 1), 0)
        if self.phases:
            second, third = (int(share * progress.total_epochs) for share in self.shares)
            self.phase = 1 + (epoch >= second) + (epoch >= third)
            if self.target == "activation":
                epoch = max(epoch - second, 0)
            elif epoch >= second:
                epoch = max(second - 1, epoch - (third - second), 0)
        temperature = min(self.rate * (epoch + 1), HIGHEST_TEMPERATURE)
        self.temperature.fill_(temperature)
        uniform = set(self.steps) == {1.0}
        self.nearest = nearest_needed(temperature, self.started_at) if uniform else None

    def forward(self, x: Tensor) -> Tensor:
        """The soft steps; in its phases ``x`` itself, or a value without a gradient."""
        alpha, beta = self.alpha, self.beta
        if self.phase == 1 and self.target == "activation":
            return x
        if self.phase == 2 and self.target == "weight":  # no gradient: no decay and no momentum
            x, alpha, beta = x.detach(), alpha.detach(), beta.detach()
        return soft_steps(
            x, alpha, beta, self.thresholds, self.temperature, steps=self.steps,
            lowest=self.lowest, nearest=self.nearest, unit_slope=self.unit_slope,
        )  # fmt: skip

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``; a value at a threshold goes up."""
        scaled = self.beta.detach() * x.detach()
        memory = scaled.as_strided((scaled.numel(),), (1,))  # keeps channels_last as it is
        codes = torch.bucketize(memory, self.thresholds, right=True)
        codes = codes.as_strided(scaled.shape, scaled.stride())
        return codes, self.alpha.detach() * self.level_values

    def parameter_groups(self) -> list[ParameterGroup]:
        """The scales have SGD of their own, at the recipe's rate (paper and released code)."""
        return [ParameterGroup((self.alpha, self.beta), optimizer="sgd")]
