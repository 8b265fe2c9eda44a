"""The kurtosis regulariser of BD-BNN, on top of any method for binary weights."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from qbench.quantizers.contract import Progress, Target
from qbench.quantizers.hosted import BINARY_HOSTS, Hosted
from qbench.registry import quantizers

__all__ = ["Kurtosis", "kurtosis"]


def kurtosis(weight: Tensor) -> Tensor:
    """``mean((w - m)^4) / mean((w - m)^2)^2``, m the mean: 3 of normal values, 1 of two levels.

    Args:
        weight: Any shape; a constant one has 0.

    Returns:
        0-dim.
    """
    centred = weight - weight.mean()
    # It does not depend on the scale, so that dividing by a constant keeps the gradient exact.
    largest = centred.detach().abs().amax().clamp_min(1e-12)
    squares = (centred / largest).square()
    return squares.square().mean() / squares.mean().square().clamp_min(1e-12)


@quantizers.register("kurtosis")
class Kurtosis(Hosted):
    """A binary method with a loss that makes the weights bimodal (BD-BNN).

    Rozen et al., "Bimodal Distributed Binarized Neural Networks", 2022, arXiv:2204.02004.

    forward    that of the host
    backward   that of the host
    penalty    strength (Kurt(w) - level)^2, averaged over the layers;
               Kurt(w) = mean((w - m)^4) / mean((w - m)^2)^2 of the layer's latent weight: 3 of
               normal, 1.8 of uniform, 1 of two-valued weights
    shapes     w any
    start      that of the host
    schedule   that of the host; the penalty is there from the share ``begin`` of training on
    options    ``host``: a method with its default options; the activations' is named in the study
    deviates   moments are averages, the code's deviation is unbiased: its Kurt is smaller by the
               factor ((n - 1) / n)^2; one level for all layers; the authors' loss against a
               teacher's weights is left out
    same as    strength 0: the host, bit for bit
    """

    bits = {"weight": (1,)}
    paper = "Rozen et al., Mathematics 2022, arXiv:2204.02004"
    family = "regulariser"
    provenance = "verified"
    search = {"level": [1.2, 1.4, 1.8, 2.2], "strength": {"low": 1e-2, "high": 10.0, "log": True}}
    components = {"penalty": {"strength": 0.0}}

    pressure: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        host: Literal[
            "adabin", "binaryconnect", "bireal", "bnn", "bwn", "daq", "dorefa", "irnet",
            "reactnet", "reste", "siman", "ste", "xnor",
        ] = "bireal",
        level: float = 1.8,
        strength: float = 1.0,
        begin: float = 0.0,
    ) -> None:  # fmt: skip
        """Make the quantizer of one weight, with the host's inside."""
        super().__init__(bit_width=bit_width, target=target)
        self.take(BINARY_HOSTS[host](bit_width=bit_width, target=target))
        self.level, self.strength, self.begin = level, strength, begin
        self.layers = 1
        self.register_buffer("pressure", torch.tensor(0.0), persistent=False)

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Count the layers, and connect the hosts."""
        super().connect(quantizers)
        for quantizer in quantizers:
            quantizer.layers = len(quantizers)

    def set_progress(self, progress: Progress) -> None:
        """Set this layer's share of the strength, and the host's schedules."""
        super().set_progress(progress)
        on = progress.fraction >= self.begin
        self.pressure.fill_(self.strength / self.layers if on else 0.0)

    def penalty(self, x: Tensor) -> Tensor | None:
        """How far the kurtosis is from the level, and what the host adds itself."""
        own = super().penalty(x)
        if not self.strength:
            return own
        distance = self.pressure * (kurtosis(x) - self.level).square()
        return distance if own is None else distance + own
