"""Quantization Networks: a staircase of sigmoids that hardens while it trains."""

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Progress, Quantizer, Target
from qbench.quantizers.level_sets import level_values, start_thresholds
from qbench.quantizers.soft_steps import nearest_needed, soft_steps
from qbench.quantizers.three_phases import ThreePhases
from qbench.quantizers.thresholds import reached
from qbench.registry import quantizers

__all__ = ["QuantizationNetworks"]

HIGHEST_TEMPERATURE = 2000.0  # the cap of the released code


@quantizers.register("quantization_networks")
class QuantizationNetworks(Quantizer):
    """Soft steps between levels; a temperature that rises with the epoch hardens them.

    Yang, Shen, Xing, Tian, Li, Deng, Huang, Hua, "Quantization Networks", CVPR 2019,
    arXiv:1911.09464; released code aliyun/alibabacloud-quantization-networks at 05522aa.

    forward    y = alpha (Y_1 + sum_i s_i sigmoid(T (beta x - b_i))),  s_i = Y_{i+1} - Y_i
               weights Y: 1 bit {-1, 1}, 2 bits {-1, 0, 1}, 3 bits {-4, -2, -1, 0, 1, 2, 4} (or
               {-2..2}, {-3..3}: ``level_set``), k bits {-m..m}, m = 2^(k-1) - 1;
               activations {0 .. 2^k - 1};  deployed with [beta x >= b_i] for the sigmoids
    backward   of the forward itself, in x, alpha and beta: dy/dx = alpha beta T sum_i s_i g_i
               (1 - g_i), g_i the sigmoids (the printed equations 8, 10, 11 are not its derivative);
               ``backward: released``, for 1-bit weights: g_i at T = 1, still times T;
               ``gradient_scale``: dalpha, dbeta times 1/sqrt(D n), D weights or features, n steps
    shapes     x any; alpha, beta scalars; b [levels - 1], frozen
    start      beta = 1.25 Y_max / max|x|, alpha = 1 / beta; b midway between k-means centres of
               beta x, for weights the inner pair +-0.05, and 0 at 1 bit; ``start: linear``: b
               midway between the levels Y
    schedule   T = min(rate (epoch + 1), 2000), constant in an epoch and soft at the end;
               ``phases``: 1. weights only, inputs pass unchanged; 2. weights and their quantizers
               stand still; 3. both; T counts the epochs in which the quantizer trains, and a
               network with one target only has no phases
    deviates   gradient_scale is ours: without it beta runs away; sigmoids are not clamped to
               +-10; ties go up (released code: down); gradients are clipped where the recipe
               clips; activations start from the first batch, in phases too
    cost       n sigmoids a value, or those of the nearest thresholds; one tensor like x is kept
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Yang et al., CVPR 2019, arXiv:1911.09464"
    family = "annealed"
    trains_hard = False
    exact_at_end = False
    search = {"temperature_rate": [5.0, 10.0, 20.0, 40.0]}
    components = {
        "kmeans": {"start": "linear"},
        "uneven_levels": {"level_set": "uniform"},
        "gradient_scale": {"gradient_scale": False},
    }

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
        gradient_scale: bool = True,
        phases: bool = False,
        first_phase: float = 0.4,
        second_phase: float = 0.3,
        start: Literal["kmeans", "linear"] = "kmeans",
    ) -> None:
        """Make the quantizer of one tensor; a rate that is not positive is a ``UsageError``."""
        super().__init__(bit_width=bit_width, target=target)
        if not temperature_rate > 0:
            raise UsageError(f"temperature_rate is {temperature_rate}; it must be above 0")
        values = level_values(target, bit_width, level_set)
        self.steps = tuple(b - a for a, b in zip(values, values[1:], strict=False))
        self.lowest, self.rate = values[0], temperature_rate
        self.unit_slope = backward == "released" and target == "weight" and bit_width == 1
        self.gradient_scale, self.fits_thresholds = gradient_scale, start == "kmeans"
        self.phases = ThreePhases(first_phase, second_phase) if phases else None
        self.phase = 3  # the last: what a finished training has when it is loaded again
        self.started_at: tuple[float, ...] = ()  # the thresholds, known without asking the device
        self.nearest: int | None = None
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.beta = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("thresholds", torch.zeros(len(self.steps)))
        self.register_buffer(
            "temperature", torch.tensor(min(temperature_rate, HIGHEST_TEMPERATURE))
        )
        self.register_buffer("level_values", torch.tensor(values), persistent=False)

    @property
    def levels(self) -> int:
        """2, 3, 5 or 7, or ``2^k - 1``, of weights; ``2^k`` of activations."""
        return len(self.steps) + 1

    @property
    def structure(self) -> Hashable:
        """The phase, and how many thresholds are evaluated for a value."""
        return self.phase, self.nearest

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Do without phases where only weights, or only activations, are quantized this way."""
        if len({quantizer.target for quantizer in quantizers}) < 2:
            for quantizer in quantizers:
                quantizer.phases = None

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the scales from the largest value, and the thresholds from k-means."""
        x = x.detach()
        self.beta.data.copy_(1.25 * self.level_values[-1] / x.abs().max().clamp_min(1e-8))
        self.alpha.data.copy_(1 / self.beta)
        found = (self.level_values[1:] + self.level_values[:-1]) / 2
        if self.fits_thresholds:
            found = start_thresholds(self.beta.detach() * x, len(self.steps), self.target)
        self.thresholds.copy_(found)
        self.started_at = tuple(found.tolist())

    def set_progress(self, progress: Progress) -> None:
        """Set the temperature and the phase of the running epoch; after the last, those of it."""
        epochs = progress.total_epochs
        epoch = max(min(progress.epoch, epochs - 1), 0)
        if self.phases is not None:
            self.phase = self.phases.phase(epoch, epochs)
            epoch = self.phases.trained(self.target, epoch, epochs)
        temperature = min(self.rate * (epoch + 1), HIGHEST_TEMPERATURE)
        self.temperature.fill_(temperature)
        uniform = set(self.steps) == {1.0}
        self.nearest = nearest_needed(temperature, self.started_at) if uniform else None

    def readings(self) -> dict[str, Tensor]:
        """Alpha, beta and the temperature T."""
        return {**super().readings(), "temperature": self.temperature}

    def forward(self, x: Tensor) -> Tensor:
        """The soft steps; in its phases ``x`` itself, or a value without a gradient."""
        if self.phase == 1 and self.target == "activation":
            return x
        alpha: Tensor = self.alpha
        beta: Tensor = self.beta
        if self.phase == 2 and self.target == "weight":  # no gradient: no decay and no momentum
            x, alpha, beta = x.detach(), alpha.detach(), beta.detach()
        count = x.numel() if self.target == "weight" else x[:1].numel()
        return soft_steps(
            x, alpha, beta, self.thresholds, self.temperature, steps=self.steps,
            lowest=self.lowest, nearest=self.nearest, unit_slope=self.unit_slope,
            scale=max(count * len(self.steps), 1) ** -0.5 if self.gradient_scale else 1.0,
        )  # fmt: skip

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``; a value at a threshold goes up."""
        scaled = self.beta.detach() * x.detach()
        codebook = self.alpha.detach() * self.level_values
        return reached(scaled, self.thresholds), codebook

    def parameter_groups(self) -> list[ParameterGroup]:
        """The scales have SGD of their own, at the recipe's rate (paper and released code)."""
        return [ParameterGroup((self.alpha, self.beta), optimizer="sgd")]
