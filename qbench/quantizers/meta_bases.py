"""The forward quantizers under MetaQuant: pre-processing, rounding, and their slopes."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.functional import absolute_mean, per_channel, round_half_up, sign

__all__ = ["Base", "make_base"]


class Base(ABC):
    """A map of weights u = A(w) and its rounding; largest values and means are constants."""

    @abstractmethod
    def prepare(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """``u`` and ``cal``, the slope of u that multiplies a gradient; cal broadcasts to u."""

    @abstractmethod
    def straight_through(self, gradient: Tensor, weight: Tensor, cal: Tensor) -> Tensor:
        """The loss's slope in w by the straight-through estimator, from that in the rounded w."""

    @abstractmethod
    def value(self, weight: Tensor) -> Tensor:
        """The rounded weight."""

    @abstractmethod
    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and codebook of the rounded weight."""


class DoReFaBase(Base):
    """u = tanh(w) / (2 max|tanh w|) + 1/2, rounded to 2^k levels in [-1, 1].

    cal leaves out the 1/2 of u, which cancels the 2 of ``2 round(n u) / n - 1``: cal times the
    gradient of the rounded value is the straight-through gradient.
    """

    def __init__(self, bit_width: int) -> None:
        """Round to ``2 ** bit_width`` levels."""
        self.levels = 2**bit_width
        self.steps = self.levels - 1

    def prepare(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """``u`` in [0, 1], and ``(1 - tanh^2 w) / max|tanh w|``."""
        squashed, largest = self._squash(weight)
        return squashed / (2 * largest) + 0.5, (1 - squashed.square()) / largest

    @staticmethod
    def _squash(weight: Tensor) -> tuple[Tensor, Tensor]:
        squashed = weight.tanh()
        return squashed, squashed.abs().amax().clamp_min(1e-8)

    def straight_through(self, gradient: Tensor, weight: Tensor, cal: Tensor) -> Tensor:
        """The slope of rounding is 1, everywhere inside [0, 1]."""
        return gradient * cal

    def _index(self, weight: Tensor) -> Tensor:
        squashed, largest = self._squash(weight)
        return round_half_up((squashed / (2 * largest) + 0.5) * self.steps)

    def _levels(self, index: Tensor) -> Tensor:
        levels: Tensor = 2 * (index / self.steps) - 1
        return levels

    def value(self, weight: Tensor) -> Tensor:
        """``2 round(n u) / n - 1``; one bit has ``sign(0) = +1``."""
        return self._levels(self._index(weight))

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[levels]``."""
        index = torch.arange(self.levels, dtype=weight.dtype, device=weight.device)
        return self._index(weight).long(), self._levels(index)


class BinaryBase(Base):
    """u = w, rounded to mean|w| sign(w), with one mean a layer or one a filter.

    cal is 1, as in the paper, so that a meta network that returns its input is not the
    straight-through estimator, which has the factor mean|w| as well.
    """

    def __init__(self, *, filters: bool) -> None:
        """``filters``: a mean for each output channel of a convolution."""
        self.filters = filters

    def _scale(self, weight: Tensor) -> Tensor:
        if self.filters and weight.ndim > 2:
            return per_channel(absolute_mean(weight), weight)
        return weight.abs().mean().clamp_min(1e-8)

    def prepare(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and 1."""
        return weight, weight.new_ones(())

    def straight_through(self, gradient: Tensor, weight: Tensor, cal: Tensor) -> Tensor:
        """``mean|w| * gradient`` where ``|w| <= 1``, else 0."""
        slope: Tensor = (weight.abs() <= 1) * self._scale(weight)
        return gradient * slope

    def value(self, weight: Tensor) -> Tensor:
        """``mean|w| sign(w)``, ``sign(0) = +1``."""
        return sign(weight) * self._scale(weight)

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[2]`` or ``[channels, 2]``."""
        signs = 2 * torch.arange(2, dtype=weight.dtype, device=weight.device) - 1
        scale = self._scale(weight)
        return (weight >= 0).long(), signs * (scale.view(-1, 1) if scale.ndim else scale)


def make_base(name: Literal["dorefa", "bwn", "bwn_filter"], bit_width: int) -> Base:
    """The forward quantizer of that name.

    Raises:
        UsageError: It cannot do these bits.
    """
    if name == "dorefa":
        return DoReFaBase(bit_width)
    if bit_width != 1:
        raise UsageError(
            f"metaquant with base '{name}' has 1-bit weights, not {bit_width}; take base 'dorefa', "
            "or 1 bit"
        )
    return BinaryBase(filters=name == "bwn_filter")
