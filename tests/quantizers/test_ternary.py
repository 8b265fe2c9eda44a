"""TWN and TTQ: thresholds, scales, gradients."""

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.ttq import TTQ
from qbench.quantizers.twn import TWN


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_twn_makes_42_percent_of_gaussian_weights_zero() -> None:
    value = TWN(bit_width=2, target="weight")(normal(100, 1000))
    share = (value == 0).double().mean().item()
    exact = 2 * norm.cdf(0.7 * (2 / torch.pi) ** 0.5) - 1  # 0.4235
    assert share == pytest.approx(exact, abs=0.006)  # 4 sd of 100,000 draws


@pytest.mark.parametrize("scope", ["layer", "filter"])
def test_the_scale_of_twn_is_the_best_for_its_zeros(scope: str) -> None:
    weight = normal(3, 50)
    value = TWN(bit_width=2, target="weight", scope=scope)(weight)
    error = (weight - value).square().sum()
    for factor in (0.99, 1.01):
        assert (weight - factor * value).square().sum() > error


def test_filters_of_twn_are_layers_of_their_own() -> None:
    weight = normal(3, 4, 2, 2) * torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1, 1)
    together = TWN(bit_width=2, target="weight", scope="filter")(weight)
    for row, value in zip(weight, together, strict=True):
        assert torch.equal(TWN(bit_width=2, target="weight")(row), value)


def test_twn_passes_the_gradient() -> None:
    weight = normal(3, 5).requires_grad_()
    gradient = normal(3, 5) + 1
    TWN(bit_width=2, target="weight")(weight).backward(gradient)
    assert torch.equal(weight.grad, gradient)


def test_the_gradients_of_ttq() -> None:
    weight = torch.tensor([1.0, 0.5, 0.04, -0.05, -0.3, -0.9], requires_grad=True)
    made = TTQ(bit_width=2, target="weight")
    made.positive.data.fill_(2.0)
    made.negative.data.fill_(3.0)
    value = made(weight)  # the threshold is 0.05, and is itself inside
    assert value.tolist() == [2, 2, 0, 0, -3, -3]
    value.sum().backward()
    assert made.positive.grad.item() == 2  # two weights above
    assert made.negative.grad.item() == -2  # and two below
    assert weight.grad.tolist() == [2, 2, 1, 1, 3, 3]


def test_the_gradients_of_ttqs_values_are_those_of_its_forward() -> None:
    weight, gradient = normal(4, 30), normal(4, 30).roll(1)
    made = TTQ(bit_width=2, target="weight")
    made(weight).backward(gradient)
    positive = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    negative = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    threshold = 0.05 * weight.abs().max()
    value = (weight > threshold) * positive - (weight < -threshold) * negative
    value.backward(gradient.double())
    assert made.positive.grad.item() == pytest.approx(positive.grad.item(), abs=1e-5)
    assert made.negative.grad.item() == pytest.approx(negative.grad.item(), abs=1e-5)


def test_ttq_starts_from_a_normalised_weight() -> None:
    weight = nn.Parameter(0.02 * normal(4, 9))
    before = weight.detach().clone()
    made = TTQ(bit_width=2, target="weight")
    made.positive.data.fill_(5.0)
    with torch.no_grad():
        made.initialize(weight, nn.Identity(), weight)
    assert weight.abs().max().item() == 1
    assert torch.allclose(weight * before.abs().max(), before)
    assert (made.positive.item(), made.negative.item()) == (1, 1)


def test_ttq_with_equal_values_is_twn_at_another_threshold() -> None:
    """Section 3.5."""
    weight = normal(5, 20)
    by_twn = TWN(bit_width=2, target="weight")(weight)
    share = (0.7 * weight.abs().mean() / weight.abs().max()).item()
    made = TTQ(bit_width=2, target="weight", threshold=share)
    made.positive.data.copy_(by_twn.max())
    made.negative.data.copy_(by_twn.max())
    assert torch.equal(made(weight), by_twn)


def test_thresholds_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="threshold=-1"):
        TWN(bit_width=2, target="weight", threshold=-1.0)
    with pytest.raises(UsageError, match="threshold=1 is out of range"):
        TTQ(bit_width=2, target="weight", threshold=1.0)
