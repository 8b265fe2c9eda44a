"""QuantNet: a small network makes the quantized weights, differentiable until deployment."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.quantizers import quantnet_subnetwork as sub
from qbench.quantizers.contract import ParameterGroup, Progress, Quantizer, Target
from qbench.quantizers.functional import per_channel
from qbench.registry import quantizers

__all__ = ["QuantNet"]


@quantizers.register("quantnet")
class QuantNet(Quantizer):
    """A sub-network puts out soft levels, without STE (reconstruction from the abstract).

    Liu et al., "Learning to Quantize by Learning within Fully Differentiable Framework", ECCV 2020
    Workshops, arXiv:2009.04626. From the abstract: a sub-network turns float weights into quantized
    ones, trained with the task, without STE; any bit-width. All else is our choice.

    forward    v = chunks of (w - mean w) / (std w + 1e-8), statistics of the layer
               h = tanh(A v + a),  h' = h + tanh(B h + b),  z = (v + g (C h' + c)) / s_k
               u = 1/n sum_i tanh((z - b_i) / tau),  n = 2^k - 1,  b_i = i - (n + 1) / 2,
               s_k = min(1, 2 a_k / n), a_k the Gaussian clip of ``ste``: 1, 1.00, 0.59, 0.34, ...
               q = alpha_o u, one alpha an output channel
    backward   of the whole graph, statistics included
    deployed   alpha_o lev(z), lev the staircase at tau = 0, a tie goes up; never sign(w)
    penalty    lambda mean (u - lev(z))^2, averaged over the layers; lev constant
    shapes     w [O, I, ...]; chunk [m]: a 2-D kernel, 8 input channels of linear and 1x1 layers,
               or one weight (elementwise); A [D, m], B [D, D], C [m, D], g scalar; alpha [O]
    start      alpha = mean|w_o| a_k / a_1; g = gain; maps as nn.Linear; without skip, take gain 1
    schedule   lambda linear from 0 to polarisation over the share polarise_over of training;
               tau exponential from tau_start to tau_end over the share tau_over
    optimizer  maps and g: Adam 1e-3 on the recipe's schedule; alpha: the recipe's; no decay
    deviates   all beyond the abstract, so the paper's numbers cannot be expected; weights only
    cost       178 multiply-adds and 7 tanh a weight (3x3) forward, once a step for any batch
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Liu et al., ECCV 2020 Workshops, arXiv:2009.04626"
    family = "meta"
    provenance = "reconstruction"
    search = {
        "hidden": [16, 32, 64],
        "polarisation": {"low": 0.1, "high": 10.0, "log": True},
        "tau_end": {"low": 0.03, "high": 0.3, "log": True},
    }
    components = {
        "mixing": {"mix": "elementwise"},
        "skip": {"skip": False, "gain": 1.0},
        "polarisation": {"polarisation": 0.0},
        "cooling": {"tau_end": 1.0},
    }
    note = (
        "reconstruction from the abstract: the paper's method text was not available; it quantizes "
        "weights only, activations take another method, which may not be free of STE"
    )
    trains_hard = False
    exact_at_end = False

    alpha: nn.Parameter
    temperature: Tensor
    pressure: Tensor

    def __init__(
        self, *, bit_width: int, target: Target,
        mix: Literal["kernel", "elementwise"] = "kernel",
        skip: bool = True, shared: bool = False, hidden: int = 32, gain: float = 0.1,
        polarisation: float = 1.0, polarise_over: float = 0.5,
        tau_start: float = 1.0, tau_end: float = 0.1, tau_over: float = 0.8,
    ) -> None:  # fmt: skip
        """Make the quantizer of one weight; the docstring of the class tells the options.

        Raises:
            UsageError: An option is out of its range.
        """
        super().__init__(bit_width=bit_width, target=target)
        sub.check_options(hidden, polarisation, (polarise_over, tau_over), (tau_start, tau_end))
        self.mix: Literal["kernel", "elementwise"] = mix
        self.skip, self.shared, self.hidden, self.gain = skip, shared, hidden, gain
        self.polarisation, self.polarise_over = polarisation, polarise_over
        self.tau_start, self.tau_end, self.tau_over = tau_start, tau_end, tau_over
        self.spacing = sub.threshold_spacing(bit_width)
        self.reach = sub.window_reach(bit_width, max(tau_start, tau_end))
        self.layers = 1
        self.networks = nn.ModuleDict()
        self.register_buffer("temperature", torch.tensor(tau_start))
        self.register_buffer("pressure", torch.zeros(()))
        self._latest: tuple[Tensor, Tensor, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_latest": None}  # a graph cannot be copied

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Count the layers, and let them share a sub-network for each length of chunk."""
        for quantizer in quantizers:
            quantizer.layers = len(quantizers)
            if quantizer.shared:
                quantizer.networks = quantizers[0].networks

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set alpha, and draw the sub-network unless another layer has drawn it."""
        self.alpha = nn.Parameter(sub.start_scale(x, self.bit_width))
        length = sub.chunk_length(x.shape, self.mix)
        if str(length) not in self.networks:  # drawn on the CPU: the same on every device
            drawn = sub.SubNetwork(length, self.hidden, self.gain, self.skip)
            self.networks[str(length)] = drawn.to(device=x.device, dtype=x.dtype)

    def set_progress(self, progress: Progress) -> None:
        """Set the temperature, and this layer's share of lambda."""
        cooled = sub.ramp(progress.fraction, self.tau_over)
        pressed = sub.ramp(progress.fraction, self.polarise_over)
        self.temperature.fill_(self.tau_start * (self.tau_end / self.tau_start) ** cooled)
        self.pressure.fill_(self.polarisation * pressed / self.layers)

    def readings(self) -> dict[str, Tensor]:
        """The temperature tau."""
        return {"temperature": self.temperature}

    def before_levels(self, x: Tensor) -> Tensor:
        """The sub-network's output z for a weight, of its shape; levels change at whole numbers."""
        length = sub.chunk_length(x.shape, self.mix)
        made = self.networks[str(length)](sub.to_chunks(sub.standardise(x.contiguous()), length))
        return sub.from_chunks(made if self.spacing == 1 else made / self.spacing, x.shape)

    def _soft(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.before_levels(x)
        return z.detach(), sub.staircase(z, self.temperature, self.bit_width, self.reach)

    def forward(self, x: Tensor) -> Tensor:
        """The soft quantized weight, alpha u."""
        z, soft = self._soft(x)
        if self.training and torch.is_grad_enabled():
            self._latest = x, z, soft
        return soft * per_channel(self.alpha, x)

    def penalty(self, x: Tensor) -> Tensor | None:
        """Distance of the soft levels from the hard ones; reuses the forward of the same step."""
        latest, self._latest = self._latest, None
        if not self.polarisation:
            return None
        z, soft = latest[1:] if latest and latest[0] is x else self._soft(x)
        nearest = self._level(sub.level_index(z, self.bit_width))
        return self.pressure * F.mse_loss(soft, nearest)

    def _level(self, index: Tensor) -> Tensor:
        steps = self.levels - 1
        return (2 * index - steps) / steps

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of lev(z), and level values ``[channels, levels]``."""
        index = sub.level_index(self.before_levels(x), self.bit_width)
        values = self._level(torch.arange(self.levels, dtype=x.dtype, device=x.device))
        return index.long(), self.alpha.view(-1, 1) * values

    def parameter_groups(self) -> list[ParameterGroup]:
        """The sub-network moves by Adam, alpha like the network's weights; neither decays."""
        network = tuple(self.networks.parameters())
        return [ParameterGroup((self.alpha,)), ParameterGroup(network, "adam", 1e-3)]
