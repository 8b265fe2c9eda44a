"""DSQ: Gong et al. 2019, equations 5 to 9."""

import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.dsq import DSQ


def made(bits: int, lower: float, upper: float, alpha: float = 0.2) -> DSQ:
    quantizer = DSQ(bit_width=bits, target="weight", alpha=alpha).double()
    quantizer.lower.data.fill_(lower)
    quantizer.upper.data.fill_(upper)
    return quantizer


def soft(x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, steps: int) -> Tensor:
    """Equations 5 to 8 by plain autograd: phi = s tanh(k (x - m_i)) in each interval."""
    width = (upper - lower) / steps
    k = ((2 - alpha) / alpha).log() / width  # alpha = 1 - tanh(k width / 2)
    scale = 1 / torch.tanh(0.5 * k * width)
    number = ((x.detach() - lower.detach()) / width.detach()).floor().clamp(0, steps - 1)
    middle = lower + (number + 0.5) * width
    inside = lower + width * (number + (scale * torch.tanh(k * (x - middle)) + 1) / 2)
    return torch.where(x < lower, lower, torch.where(x > upper, upper, inside))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_gradients_are_those_of_the_soft_staircase(bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, dtype=torch.float64, generator=generator)
    ours, quantizer = x.clone().requires_grad_(), made(bits, -1.25, 1.5)
    value = quantizer(ours)
    (value * x.cos()).sum().backward()
    ends = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-1.25, 1.5)]
    theta = quantizer.theta.detach().clone().requires_grad_()
    theirs = x.clone().requires_grad_()
    steps = 2**bits - 1
    smooth = soft(theirs, *ends, 0.5 * torch.sigmoid(theta), steps)
    (smooth * x.cos()).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-9)
    assert torch.allclose(quantizer.theta.grad, theta.grad, atol=1e-9)
    # Toward the ends the soft value would give its own share; the hard forward gives its.
    share = (value.detach() - smooth.detach()) / (1.5 + 1.25)
    lower = ends[0].grad - (share * x.cos()).sum()
    upper = ends[1].grad + (share * x.cos()).sum()
    assert torch.allclose(quantizer.lower.grad, lower, atol=1e-9)
    assert torch.allclose(quantizer.upper.grad, upper, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4])
def test_the_slope_is_positive_and_joins_the_levels(alpha: float) -> None:
    """[X] phi passes through every grid point; its slope integrates to a step per interval."""
    x = (torch.arange(30_000, dtype=torch.float64) + 0.5) / 10_000  # midpoints of three intervals
    x.requires_grad_()
    made(2, 0.0, 3.0, alpha)(x).sum().backward()
    assert (x.grad > 0).all()
    areas = x.grad.view(3, -1).mean(1)  # the levels are 1 apart
    assert torch.allclose(areas, torch.ones(3, dtype=torch.float64), atol=1e-6)  # midpoint rule


def test_the_soft_staircase_comes_closer_to_the_hard_one_as_alpha_falls() -> None:
    """[X] The distance falls monotonically with alpha."""
    grid = (torch.arange(3000, dtype=torch.float64) + 0.5) / 1000
    distances = []
    for alpha in (0.45, 0.3, 0.2, 0.1, 0.05, 0.01):
        x = grid.clone().requires_grad_()
        quantizer = made(2, 0.0, 3.0, alpha)
        hard = quantizer(x)
        hard.sum().backward()
        smooth = x.grad.cumsum(0) / 1000  # the integral of the slope
        distances.append((smooth - hard).abs().mean().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[0] < 0.25  # that of the identity


def test_outside_the_interval_only_its_ends_get_a_gradient() -> None:
    x = torch.tensor([-5.0, 7.0], dtype=torch.float64, requires_grad=True)
    quantizer = made(2, -1.0, 2.0)
    quantizer(x)[0].backward()
    assert (x.grad[0].item(), quantizer.lower.grad.item(), quantizer.upper.grad.item()) == (0, 1, 0)


def test_the_start_is_within_the_values() -> None:
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    quantizer = DSQ(bit_width=2, target="activation")
    quantizer.initialize(x, nn.Identity(), x)
    assert quantizer.upper.item() == pytest.approx(x.mean().item() + 2.6 * x.std().item(), rel=1e-3)
    quantizer.initialize(x.relu(), nn.Identity(), x)
    assert quantizer.lower.item() == 0  # not mu - 2.6 sigma < 0, where there is nothing
    assert quantizer.alpha.item() == pytest.approx(0.2)


def test_alpha_may_stand_still() -> None:
    quantizer = DSQ(bit_width=2, target="weight", learn_alpha=False)
    quantizer(torch.randn(20, requires_grad=True)).sum().backward()
    assert quantizer.theta.grad is None
    with pytest.raises(UsageError, match="out of range"):
        DSQ(bit_width=2, target="weight", alpha=0.7)
