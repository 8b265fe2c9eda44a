"""QuantNet's sub-network: from a layer's weights to new weights, differentiable throughout."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.functional import absolute_mean, with_gradient
from qbench.quantizers.ste import GAUSSIAN_CLIP

__all__ = [
    "SubNetwork", "check_options", "chunk_length", "from_chunks", "level_index", "ramp",
    "staircase", "standardise", "start_scale", "threshold_spacing", "to_chunks", "window_reach",
]  # fmt: skip

LINEAR_CHUNK = 8
"""Consecutive input channels of a linear or 1x1 layer that form a chunk."""
SATURATED = 10
"""1 - tanh(10) is 4e-9, less than half a unit in the last place of 1 in float32."""


class SubNetwork(nn.Module):
    """Encode, compress, decode: chunks of standardised weights ``v`` to ``v + g r(v)``."""

    def __init__(self, length: int, hidden: int, gain: float, skip: bool) -> None:
        """Draw the initial values of the three maps as ``nn.Linear`` does.

        Args:
            length: Weights in a chunk, m.
            hidden: Width of the encoding, D.
            gain: The start of g.
            skip: Whether v is added to the output.
        """
        super().__init__()
        self.encode = nn.Linear(length, hidden)
        self.compress = nn.Linear(hidden, hidden)
        self.decode = nn.Linear(hidden, length)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.skip = skip

    def forward(self, chunks: Tensor) -> Tensor:
        """Map chunks ``[chunks, m]`` to new values of the same shape."""
        h = self.encode(chunks).tanh()
        h = h + self.compress(h).tanh()
        r: Tensor = self.decode(h)
        return torch.addcmul(chunks, r, self.gain) if self.skip else r * self.gain


def threshold_spacing(bits: int) -> float:
    """Distance of neighbouring thresholds in standard deviations of the weight.

    That of the uniform quantizer of least squared error for Gaussian values, at most 1. It is 1.00
    at 2 bits; from 4 bits on a spacing of 1 would leave more than half of the levels unused.
    """
    steps: int = 2**bits - 1
    return min(1.0, 2 * GAUSSIAN_CLIP[bits - 1] / steps)


def chunk_length(shape: torch.Size, mix: Literal["kernel", "elementwise"]) -> int:
    """Weights that are mixed with each other: a 2-D kernel, 8 input channels, or one.

    Args:
        shape: Of the weight, ``[outputs, inputs, …kernel]``.
        mix: ``elementwise`` mixes nothing.
    """
    if mix == "elementwise":
        return 1
    kernel = shape[2:].numel()
    return kernel if kernel > 1 else LINEAR_CHUNK


def standardise(x: Tensor) -> Tensor:
    """``(x - mean) / (std + 1e-8)`` with both statistics of the whole tensor in the graph.

    The gradient of ``std`` is 0 where the tensor is constant, in place of infinity.
    """
    centered = x - x.mean()
    deviation = torch.linalg.vector_norm(centered) * x.numel() ** -0.5
    standard: Tensor = centered / (deviation + 1e-8)
    return standard


def to_chunks(x: Tensor, length: int) -> Tensor:
    """A contiguous weight as rows ``[chunks, length]``; input channels are padded with zeros.

    Args:
        x: The weight ``[outputs, inputs, …kernel]``.
        length: As :func:`chunk_length` returns it.
    """
    rows = x.reshape(x.shape[0], -1)
    missing = -rows.shape[1] % length
    return (F.pad(rows, (0, missing)) if missing else rows).reshape(-1, length)


def from_chunks(chunks: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of :func:`to_chunks`: a weight of ``shape``, its padding cut off."""
    rows = chunks.reshape(shape[0], -1)
    kept: Tensor = rows[:, : shape[1:].numel()].reshape(shape)
    return kept


def level_index(z: Tensor, bits: int) -> Tensor:
    """How many of the thresholds ``-(h - 1) … h - 1``, ``h = 2**(bits - 1)``, are ``<= z``.

    Returns:
        Whole numbers in ``[0, 2**bits - 1]``, of the type and shape of ``z``; a tie goes up.
    """
    index: Tensor = (z.floor() + 2 ** (bits - 1)).clamp(0, 2**bits - 1)
    return index


def start_scale(weight: Tensor, bits: int) -> Tensor:
    """``[channels]``: mean|w|, times what makes the outermost level fit Gaussian weights."""
    return absolute_mean(weight) * (GAUSSIAN_CLIP[bits - 1] / GAUSSIAN_CLIP[0])


def staircase(z: Tensor, temperature: Tensor, bits: int, reach: int) -> Tensor:
    """The mean of ``tanh((z - b) / temperature)`` over the integer thresholds ``b``.

    Only thresholds within ``reach`` of ``z`` are evaluated; the tanh of the others is 1 or -1, and
    as many lie below as above, but for twice the middle of the window. The derivative is the exact
    one, computed beside the value, so that the graph holds one tensor, not one a threshold.

    Args:
        z: Any shape.
        temperature: A 0-dim tensor, above 0.
        bits: There are ``2**bits - 1`` thresholds, around 0.
        reach: As :func:`window_reach` returns it.

    Returns:
        Values in ``[-1, 1]``, of the shape of ``z``.
    """
    x, steps = z.detach(), 2**bits - 1
    inner = 2 ** (bits - 1) - 1 - reach
    middle = x.floor().clamp_(-inner, inner) if inner else torch.zeros_like(x)
    total, squares = 2 * middle, torch.zeros_like(x)
    middle = x - middle
    for threshold in range(-reach, reach + 1):
        step = (middle - threshold).div_(temperature).tanh_()
        total += step
        squares.addcmul_(step, step)
    slope = (2 * reach + 1 - squares) / (steps * temperature)
    return with_gradient(z, total / steps, slope)


def window_reach(bits: int, warmest: float) -> int:
    """How far from ``z`` a threshold can be and still not be saturated in float32.

    Args:
        bits: There are ``2**bits - 1`` thresholds.
        warmest: The highest temperature of the schedule.
    """
    outermost: int = 2 ** (bits - 1) - 1
    return min(outermost, math.ceil(SATURATED * warmest))


def ramp(fraction: float, share: float) -> float:
    """A rise from 0 to 1 over the first ``share`` of training; 1 at once if that is 0."""
    return min(fraction / share, 1.0) if share > 0 else 1.0


def check_options(
    hidden: int, polarisation: float, shares: tuple[float, ...], temperatures: tuple[float, ...]
) -> None:
    """Refuse what has no meaning.

    Args:
        hidden: Width of the sub-network.
        polarisation: The factor of the penalty.
        shares: Of training, for schedules.
        temperatures: At the start and at the end.

    Raises:
        UsageError: A value is out of its range.
    """
    if hidden < 1:
        raise UsageError(f"quantnet: hidden is {hidden}; give a whole number from 1")
    if not 0 <= polarisation < math.inf:
        raise UsageError(f"quantnet: polarisation is {polarisation}; give 0 (off) or more")
    for share in shares:
        if not 0 <= share <= 1:
            raise UsageError(f"quantnet: polarise_over and tau_over are in [0, 1], not {share}")
    for temperature in temperatures:
        if not 0 < temperature < math.inf:
            raise UsageError(f"quantnet: tau_start and tau_end are above 0, not {temperature}")
