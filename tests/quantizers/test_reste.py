"""ReSTE: Wu et al. 2023, the slope of a root."""

import pytest
import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.contract import Progress
from qbench.quantizers.reste import ReSTE


def at(quantizer: ReSTE, exponent: float) -> ReSTE:
    quantizer.power.fill_(1 / exponent)
    return quantizer


def slopes(x: Tensor, exponent: float, target: str = "activation") -> Tensor:
    x = x.clone().requires_grad_()
    at(ReSTE(bit_width=1, target=target), exponent)(x).sum().backward()
    return x.grad


def test_b15_an_exponent_of_one_is_the_straight_through_estimator_cut_at_1_5() -> None:
    x = torch.tensor([-2.0, -1.51, -1.5, -0.1, 0.0, 0.05, 1.0, 1.5, 1.51])
    assert slopes(x, 1).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0]


def test_b15_an_exponent_of_three() -> None:
    """m^(1/3) / m = 4.6416 inside; a jump at m = 0.1, from the chord to the tangent, is meant."""
    x = torch.tensor([0.0, 0.0999, 0.1001, 1.0, -1.0])
    expected = torch.tensor([4.6416, 4.6416, 1.5462, 1 / 3, 1 / 3])
    assert torch.allclose(slopes(x, 3), expected, atol=1e-3)


@pytest.mark.parametrize("exponent", [1.0, 1.7, 3.0])
def test_b15_weights_are_the_papers_in_value_and_gradient(exponent: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, generator=generator, dtype=torch.float64)
    incoming = torch.randn(6, 4, 3, 3, generator=generator, dtype=torch.float64)
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    value = at(ReSTE(bit_width=1, target="weight").double(), exponent)(ours)
    value.backward(incoming)
    size = theirs.abs()
    root = theirs.sign() * size.pow(1 / exponent)
    chord = theirs * 0.1 ** (1 / exponent) / 0.1
    soft = torch.where(size <= 0.1, chord, torch.where(size <= 1.5, root, root.detach()))
    expected = (theirs.sign().detach() - soft.detach() + soft) * theirs.abs().mean()
    expected.backward(incoming)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_b15_one_mean_scales_the_layer() -> None:
    weight = torch.tensor([[0.5, -0.25], [0.0, -0.25]])
    quantizer = ReSTE(bit_width=1, target="weight")
    assert quantizer(weight).tolist() == [[0.25, -0.25], [0.25, -0.25]]
    assert quantizer.codes(weight)[1].tolist() == [-0.25, 0.25]


@pytest.mark.parametrize(("share", "exponent"), [(0.0, 1.0), (2 / 3, 2.0), (1.0, 3.0)])
def test_b15_the_exponent_rises_along_a_cosine(share: float, exponent: float) -> None:
    quantizer = ReSTE(bit_width=1, target="weight")
    quantizer.set_progress(Progress(round(300 * share), 300, 0, 10, learning_rate=0.1))
    assert quantizer.readings()["exponent"].item() == pytest.approx(exponent)  # cos(60°) = 1/2


@pytest.mark.parametrize("options", [{"exponent": 0.5}, {"flat": 0.0}, {"flat": 2.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="reste"):
        ReSTE(bit_width=1, target="weight", **options)
