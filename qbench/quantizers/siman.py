"""SiMaN: a filter's larger half is +1, whatever the signs of its weights."""

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.binary import SignQuantizer, standardise, tent
from qbench.quantizers.contract import Progress, Target
from qbench.quantizers.functional import per_channel, with_gradient
from qbench.registry import quantizers

__all__ = ["SiMaN"]

EPSILON = 1e-5  # of the variance, as published


@quantizers.register("siman")
class SiMaN(SignQuantizer):
    """Sign-to-magnitude: weights of the larger half by magnitude are +1, the others -1.

    Lin et al., "SiMaN: Sign-to-Magnitude Network Binarization", TPAMI 2022, arXiv:2102.07981.

    forward    weights: v = (w - mean w) / sqrt(var w + 1e-5) of the channel, b = +1 for the n/2
               largest |v|, else -1 (of an odd n one more is -1), q = alpha b;
               activations: u as v, of each sample, q = sign(u), sign(0) = +1
    backward   db/d|v| = 1;  dq/dalpha = b, summed over the channel;  dq/du = max(0, 2 - 2|u|);
               the gradient flows through mean and variance
    update     at the start and after each step: w minus its channel's mean, its magnitudes clipped
               to the p-th and (100 - p)-th percentile of the layer
    shapes     x any; alpha [channels]
    start      alpha = mean|w| of the channel
    schedule   p = percent (1 - epoch / epochs)
    optimizer  alpha: the recipe's, no decay
    deviates   the code centres and clips in each forward, evaluation's too, and evaluates with the
               b of the step before; equal magnitudes are taken in order
    cost       two sorts a layer and step
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Lin et al., TPAMI 2022, arXiv:2102.07981"
    family = "surrogate"
    provenance = "verified"
    search = {"percent": {"low": 0.0, "high": 30.0}}
    components = {"clipping": {"percent": 0.0}}

    alpha: nn.Parameter
    shares: Tensor

    def __init__(self, *, bit_width: int, target: Target, percent: float = 15.0) -> None:
        """Make the quantizer of one tensor; ``percent`` of weights are clipped at first, each way.

        Raises:
            UsageError: The percentage is out of range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not 0 <= percent < 50:
            raise UsageError(f"siman: percent={percent} must lie in [0, 50), such as 15")
        self.percent = percent
        shares = torch.tensor([percent / 100, 1 - percent / 100], dtype=torch.float64)
        self.register_buffer("shares", shares, persistent=False)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the scale, and centre and clip the weight."""
        if self.target == "weight":
            self.alpha = nn.Parameter(x.detach().abs().flatten(1).mean(1))
            self._project(x)

    def set_progress(self, progress: Progress) -> None:
        """Set the percentiles."""
        percent = self.percent * (1 - progress.epoch / max(progress.total_epochs, 1))
        self.shares[0].fill_(percent / 100)
        self.shares[1].fill_(1 - percent / 100)

    def scale(self, x: Tensor) -> Tensor | None:
        """``alpha`` of weights."""
        return self.alpha if self.target == "weight" else None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """The tent of activations."""
        return tent(x)

    def forward(self, x: Tensor) -> Tensor:
        """The larger half, or the signs of standardised inputs."""
        unit = standardise(x, EPSILON)
        if self.target == "activation":
            return super().forward(unit)
        size = unit.abs()
        signs = 2 * _upper_half(size.detach()).to(x.dtype) - 1
        return with_gradient(size, signs) * per_channel(self.alpha, x)

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values: ``[channels, 2]`` of weights, -1 and 1 of activations."""
        unit = standardise(x, EPSILON)
        codes, codebook = super().codes(unit)
        return (_upper_half(unit.abs()) if self.target == "weight" else codes), codebook

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Centre and clip the weight."""
        self._project(weight)

    def _project(self, weight: Tensor) -> None:
        centred = weight - per_channel(weight.flatten(1).mean(1), weight)
        size = centred.abs()
        ordered = size.flatten().sort().values
        place = self.shares * (len(ordered) - 1)
        below, above = ordered[place.floor().long()], ordered[place.ceil().long()]
        low, high = below.lerp(above, place.frac().to(below.dtype)).unbind()
        weight.copy_(torch.maximum(size, low).minimum(high) * centred.sign())


def _upper_half(size: Tensor) -> Tensor:
    """1 for the larger half of each filter, else 0; int64, of the shape of ``size``."""
    flat = size.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)[:, : flat.shape[1] // 2]
    return torch.zeros_like(flat, dtype=torch.int64).scatter(1, order, 1).view(size.shape)
