"""DiffQ: trains with noise as wide as a level, so that the number of bits gets a gradient."""

import math

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Quantizer, Target
from qbench.quantizers.functional import per_channel
from qbench.registry import quantizers

__all__ = ["DiffQ"]

LEAST_BITS = 2.0
MEGABYTE = 2**23  # bits
START = math.log(9)
"""The logit of 0.9: bits start near the declared width."""


@quantizers.register("diffq")
class DiffQ(Quantizer):
    """Pseudo quantization noise in place of rounding; the bits of each filter are trained.

    Defossez, Adi, Synnaeve, "Differentiable Model Compression via Pseudo Quantization Noise", TMLR
    2022, arXiv:2104.09987.

    forward    q = w + Delta_c / 2 * z,  z standard normal,
               Delta_c = (max w - min w) / (2^b_c - 1),  b_c = 2 + (k - 2) sigmoid(logit_c);
               deployed: min w + Delta_c round((w - min w) / Delta_c) at round(b_c) bits
    penalty    ``size_weight`` times the layer's size in megabytes, sum_c n b_c / 2^23, n weights a
               filter
    backward   dq/dw = 1;  dq/db_c = -log 2 * 2^b_c / (2^b_c - 1) * (q - w);  max w and min w are
               constants
    shapes     w any; logit [channels]
    start      b_c = 2 + 0.9 (k - 2)
    schedule   none; the logits have their own Adam, rate 1e-3, no decay, with the recipe's schedule
    deviates   the declared width k bounds the bits, so that any layer can be stored in k bits
               (paper: 2 + 13 sigmoid, from 8 on, whatever comes of it); a trial says "at most k
               bits", and k = 2 would leave nothing to learn; a group is a filter, since a codebook
               belongs to one (paper: 8 or 16 weights); what is deployed is stored at k bits a
               weight, also where fewer are used: the reading ``bits`` has their mean
    """

    bits = {"weight": (3, 4, 5, 6, 7, 8)}
    paper = "Defossez et al., TMLR 2022, arXiv:2104.09987"
    family = "stochastic"
    provenance = "verified"
    stochastic = True
    trains_hard = False
    exact_at_end = False
    search = {
        "size_weight": {"low": 0.1, "high": 100.0, "log": True},
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    }
    components = {"size_penalty": {"size_weight": 0.0}}
    note = "its bit-width is an upper bound: each filter learns to use as many bits or fewer"

    logits: nn.Parameter

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        size_weight: float = 10.0,
        learning_rate: float = 1e-3,
    ) -> None:
        """Make the quantizer of one weight.

        Args:
            bit_width: The most bits.
            target: Weights only.
            size_weight: What a megabyte adds to the loss.
            learning_rate: That of the logits.

        Raises:
            UsageError: ``size_weight`` is negative.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not size_weight >= 0:
            raise UsageError(f"diffq: size_weight={size_weight:g}; choose 0 or more")
        self.size_weight, self.learning_rate = size_weight, learning_rate

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Make the bits of each filter."""
        self.logits = nn.Parameter(x.new_full((len(x),), START))

    def filter_bits(self) -> Tensor:
        """The real-valued bits of each filter, ``[channels]``, from 2 to the declared width."""
        return LEAST_BITS + (self.bit_width - LEAST_BITS) * torch.sigmoid(self.logits)

    def forward(self, x: Tensor) -> Tensor:
        """Add the noise."""
        _, span = _range(x)
        step = span / (torch.exp2(self.filter_bits()) - 1)
        return x + per_channel(step / 2, x) * torch.randn_like(x)

    def penalty(self, x: Tensor) -> Tensor | None:
        """The weighted size of the layer."""
        return self.filter_bits().sum() * (self.size_weight * x[0].numel() / MEGABYTE)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[channels, levels]``; a filter's highest repeat."""
        low, span = _range(x)
        highest = (torch.exp2(self.filter_bits().round()) - 1).unsqueeze(1)
        step = span / highest
        index = ((x - low) / per_channel(step, x)).round()
        index = torch.minimum(index.clamp_min(0.0), per_channel(highest, x))
        number = torch.arange(self.levels, dtype=x.dtype, device=x.device)
        return index.long(), low + torch.minimum(number, highest) * step

    def parameter_groups(self) -> list[ParameterGroup]:
        """The logits: Adam at its own rate, no decay."""
        return [ParameterGroup((self.logits,), "adam", self.learning_rate)]

    def readings(self) -> dict[str, Tensor]:
        """The mean of the filters' bits."""
        return {"bits": self.filter_bits().detach().mean()}


def _range(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The least value and the span of a layer's weight, 0-dim, constants."""
    low, high = weight.detach().aminmax()
    return low, (high - low).clamp_min(1e-8)
