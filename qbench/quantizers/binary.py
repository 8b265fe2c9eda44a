"""What the methods of two levels share: scale times sign, slopes in place of sign's, statistics."""

from typing import Any

import torch
from torch import Tensor

from qbench.quantizers.contract import Quantizer
from qbench.quantizers.functional import per_channel, sign, with_gradient

__all__ = ["SignQuantizer", "standardise", "tent", "unit_window"]


def unit_window(x: Tensor) -> Tensor:
    """``1[|x| <= 1]``, the slope of the hard tanh."""
    return (x.abs() <= 1).to(x.dtype)


def tent(x: Tensor) -> Tensor:
    """``max(0, 2 - 2|x|)``, the slope of Bi-Real's ApproxSign."""
    return (2 - 2 * x.abs()).clamp_min(0)


class SignQuantizer(Quantizer):
    """Base of one-bit methods: q = scale sign(x), sign(0) = +1, with a slope of their own.

    Subclasses override :meth:`scale` and :meth:`slope`; both are constants in the backward.
    """

    def scale(self, x: Tensor) -> Tensor | None:
        """The size of both levels: ``[channels]`` of a weight, 0-dim, or nothing for 1."""
        return None

    def slope(self, x: Tensor, scale: Tensor | None) -> Tensor | None:
        """dq/dx, of the shape of ``x``, or nothing for 1 everywhere."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """The nearer of the two levels."""
        fixed = x.detach()
        scale = self.scale(fixed)
        return with_gradient(x, _scaled_sign(fixed, scale), self.slope(fixed, scale))

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values ``[2]``, or ``[channels, 2]`` where each channel has a scale."""
        signs = 2 * torch.arange(2, dtype=x.dtype, device=x.device) - 1
        scale = self.scale(x)
        if scale is not None:
            signs = signs * (scale.view(-1, 1) if scale.ndim else scale)
        return (x >= 0).long(), signs


def _scaled_sign(x: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return sign(x)
    spread = per_channel(scale, x) if scale.ndim else scale
    return torch.where(x >= 0, spread, -spread)


class _Standardise(torch.autograd.Function):
    """The Jacobian of a row y = (x - m) / s applied to h: (h - mean h - y sum(h y) / (n - 1)) / s.

    Statistics are taken of flattened rows, so that they are the same for every memory format.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        flat = x.flatten(1)
        freedom = max(flat.shape[1] - 1, 1)
        centred = x - per_channel(flat.mean(1), x)
        variance = centred.flatten(1).square().sum(1) / freedom
        spread = per_channel((variance + epsilon).sqrt(), x)
        result = centred / spread
        ctx.save_for_backward(result, spread)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        result, spread = ctx.saved_tensors
        flat = gradient.flatten(1)
        freedom = max(flat.shape[1] - 1, 1)
        along = (gradient * result).flatten(1).sum(1) / freedom
        rest = gradient - per_channel(flat.mean(1), gradient) - result * per_channel(along, result)
        return rest / spread, None


def standardise(x: Tensor, epsilon: float) -> Tensor:
    """``(x - mean) / sqrt(variance + epsilon)`` of each slice of the first axis.

    The variance is the unbiased one; the gradient flows through both statistics.

    Args:
        x: A weight, whose slices are its filters, or a batch of inputs.
        epsilon: What keeps a constant slice, which becomes 0, from a division by 0.
    """
    result: Tensor = _Standardise.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return result
