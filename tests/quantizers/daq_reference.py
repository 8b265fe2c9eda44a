"""DAQ by plain autograd, from the equations: a soft arg-max with a temperature controller."""

import math

import torch
from torch import Tensor

from qbench.quantizers.daq import DAQ


def reference(n: Tensor, gamma: float, sigma: float, detach: bool = True) -> Tensor:
    """Distance scores, kernel, controller, expanded levels: one value of the grid 0 … R each."""
    below = n.detach().floor()
    u = n - below
    distance = torch.stack([torch.exp(-u), torch.exp(-(1 - u))])  # exp(-|u - q|), q = 0, 1
    nearest = distance.detach().argmax(0)  # the first, the lower one, of two equal ones
    candidates = torch.tensor([0.0, 1.0], dtype=n.dtype).view(2, *[1] * n.ndim)
    score = distance * torch.exp(-((candidates - nearest) ** 2) / sigma**2)
    temperature = gamma / (score[0] - score[1]).abs()
    share = torch.softmax((temperature.detach() if detach else temperature) * score, 0)
    extra = 1 / math.expm1(gamma)
    return below + (-extra) * share[0] + (1 + extra) * share[1]


def rounded(n: Tensor) -> Tensor:
    """Hard rounding, ties down."""
    return n.floor() + (n - n.floor() > 0.5)


def on_grid(bits: int, **options: float) -> DAQ:
    """An activation quantizer whose input is the grid's n itself: its interval is [0, R]."""
    made = DAQ(bit_width=bits, target="activation", **options)
    made.upper.data.fill_(2.0**bits - 1)
    return made


def slopes(n: Tensor, bits: int = 1, **options: float) -> Tensor:
    """G at each n, from the gradient of the quantizer: d(q / R) / dn = G / R."""
    x = n.clone().requires_grad_()
    made = on_grid(bits, **options).to(n.dtype)
    (made(x) * made.steps).sum().backward()
    return x.grad


def uniform(size: int, high: float, seed: int = 0) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) * high


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
