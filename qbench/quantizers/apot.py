"""APoT: levels are sums of powers of two, dense around zero, under a learned clip."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import ParameterGroup, Quantizer, Target, decode
from qbench.quantizers.thresholds import reached
from qbench.registry import quantizers

__all__ = ["APoT", "sums_of_powers"]


def sums_of_powers(bit_width: int) -> list[float]:
    """The ``2^k`` magnitudes from 0 to 1, in rising order.

    Args:
        bit_width: k, at least 1.
    """
    n, odd = divmod(bit_width, 2)
    terms: list[Sequence[float]] = [
        (0.0, 2.0**-i, 2.0 ** -(i + n), 2.0 ** -(i + 2 * n + odd)) for i in range(n)
    ]
    if odd:
        terms.append((0.0, 2.0 ** -(2 * n)))
    sums = sorted(sum(choice) for choice in product(*terms))
    return [value / sums[-1] for value in sums]


class _Projection(torch.autograd.Function):
    """``value``, with its gradients toward x and the clip."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, clip: Tensor, value: Tensor, inside: Tensor, mask: bool
    ) -> Tensor:
        ctx.save_for_backward(x, clip, value, inside)
        ctx.mask = mask
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, clip, value, inside = ctx.saved_tensors
        toward_clip = (gradient * torch.where(inside, value - x, value)).sum() / clip
        return gradient * inside if ctx.mask else gradient, toward_clip, None, None, None


@quantizers.register("apot")
class APoT(Quantizer):
    """Additive powers of two: non-uniform levels that multiply by shifts and sums.

    Li, Dong, Wang, "Additive Powers-of-Two Quantization", ICLR 2020, arXiv:1909.13144.

    forward    q = a P(y / a),  P the nearest of the levels, ties up
               levels of k = 2 n bits, from 0 to 1 after division by the largest sum:
               sum_i p_i,  p_i in {0, 2^-i, 2^-(i+n), 2^-(i+2n)},  i = 0 … n - 1;
               of k = 2 n + 1 bits:  p_i in {0, 2^-i, 2^-(i+n), 2^-(i+2n+1)}, and {0, 2^-2n} added
               weights:  y = (w - mean w) / std w;  0 and +- the other magnitudes of k - 1 bits:
               2^k - 1 levels;  activations:  y = x, the magnitudes of k bits
    backward   dq/da = q / a - y / a inside [-a, a] ([0, a] of activations), q / a outside;
               dq/dy = 1 inside, and outside 0 (activations, ``clipped``) or 1 (``identity``);
               mean w and std w are constants
    shapes     x any; a scalar; levels [levels]
    start      a = 3 of weights, 8 of activations (published, CIFAR)
    schedule   none; SGD at the rates of the published CIFAR runs, 0.02 and 0.1, no decay
    deviates   as the published CIFAR code by default; for ImageNet it masks dq/dy from 3 bits on
               and differentiates mean w and std w; its bits go down by stages; an input with
               negative values in the first batch has the levels of weights; |a| and std w have
               floors
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Li et al., ICLR 2020, arXiv:1909.13144"
    family = "learned levels"
    provenance = "verified"
    search = {
        "weight_learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
        "activation_learning_rate": {"low": 1e-2, "high": 0.5, "log": True},
    }

    grid: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        weight_backward: Literal["identity", "clipped"] = "identity",
        weight_learning_rate: float = 0.02,
        activation_learning_rate: float = 0.1,
    ) -> None:
        """Make the quantizer of one tensor; the rates are those of the clips."""
        super().__init__(bit_width=bit_width, target=target)
        on_weight = target == "weight"
        self.learning_rate = weight_learning_rate if on_weight else activation_learning_rate
        self.mask = not on_weight or weight_backward == "clipped"
        self.clip = nn.Parameter(torch.tensor(3.0 if on_weight else 8.0))
        magnitudes = sums_of_powers(bit_width - on_weight)
        grid = _mirrored(magnitudes) if on_weight else magnitudes
        self.register_buffer("grid", torch.tensor(grid))

    @property
    def levels(self) -> int:
        """``2^k - 1`` of weights, ``2^k`` of activations."""
        return int(2**self.bit_width) - (self.target == "weight")

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Choose the levels of activations."""
        if self.target == "activation" and bool((x < 0).any()):
            grid = _mirrored(sums_of_powers(self.bit_width - 1))
            self.grid.copy_(torch.tensor([*grid, grid[-1]]))  # one code more than is needed

    def _normal(self, x: Tensor) -> Tensor:
        if self.target == "activation":
            return x
        constant = x.detach()
        return (x - constant.mean()) / constant.std(correction=0).clamp_min(1e-8)

    def _project(self, y: Tensor, clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unit = y.detach() / clip.detach()
        codes = reached(unit, (self.grid[1:] + self.grid[:-1]) / 2)
        return codes, self.grid * clip.detach(), (unit >= self.grid[0]) & (unit <= 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a weight, and round."""
        clip, y = self.clip.abs().clamp_min(1e-8), self._normal(x)
        codes, codebook, inside = self._project(y, clip)
        value = decode(codes, codebook)
        result: Tensor = _Projection.apply(y, clip, value, inside, self.mask)  # type: ignore[no-untyped-call]
        return result

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        codes, codebook, _ = self._project(self._normal(x), self.clip.abs().clamp_min(1e-8))
        return codes, codebook

    def parameter_groups(self) -> list[ParameterGroup]:
        """The clip: SGD at its own rate, no decay."""
        return [ParameterGroup((self.clip,), "sgd", self.learning_rate)]


def _mirrored(magnitudes: list[float]) -> list[float]:
    return [-value for value in reversed(magnitudes[1:])] + magnitudes
