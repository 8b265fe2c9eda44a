"""PACT: Choi et al. 2018, equations 1 to 3."""

import pytest
import torch

from qbench.errors import UsageError
from qbench.quantizers.dorefa import DoReFa
from qbench.quantizers.pact import PACT

X = torch.tensor([-1.0, 0.0, 0.3, 1.9, 2.0, 5.0])


def activation(bits: int, clip: float = 2.0) -> PACT:
    return PACT(bit_width=bits, target="activation", initial_clip=clip)


def test_the_clip_gets_the_gradient_of_what_lies_beyond_it() -> None:
    """[X] dalpha equals the count of x >= alpha for unit g."""
    made, x = activation(2), X.clone().requires_grad_()
    made(x).sum().backward()
    assert made.clip.grad.item() == 2  # 2.0 and 5.0
    assert x.grad.tolist() == [0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_outputs_lie_between_zero_and_the_clip(bits: int) -> None:
    value = activation(bits)(torch.linspace(-9, 9, 1001)).detach()
    assert value.min() == 0
    assert value.max() == 2
    assert len(value.unique()) == 2**bits


def test_it_is_the_paper_s_absolute_values_by_plain_autograd() -> None:
    x = torch.randn(256, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    made = activation(3).double()
    ours = x.clone().requires_grad_()
    value = made(ours)
    (value * x.cos()).sum().backward()
    theirs, clip = x.clone().requires_grad_(), torch.tensor(2.0).double().requires_grad_()
    y = 0.5 * (theirs.abs() - (theirs - clip).abs() + clip)  # equation 1
    rounded = (y * (7 / clip.detach())).round() * (clip.detach() / 7)
    expected = y + (rounded - y).detach()
    (expected * x.cos()).sum().backward()
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert torch.allclose(made.clip.grad, clip.grad, atol=1e-10)


def test_with_the_clip_at_one_it_is_dorefa() -> None:
    x = torch.rand(100, generator=torch.Generator().manual_seed(0)) * 1.5 - 0.2
    one = activation(3, clip=1.0)
    assert torch.equal(one(x), DoReFa(bit_width=3, target="activation")(x))


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_weights_are_those_of_dorefa(bits: int) -> None:
    weight = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    made = PACT(bit_width=bits, target="weight")
    assert torch.equal(made(weight), DoReFa(bit_width=bits, target="weight")(weight))
    assert not list(made.parameters())
    assert made.parameter_groups() == []


def test_the_clip_decays_as_the_weights_do() -> None:
    """L2 goes to the clip with the recipe's coefficient, and to nothing else of the method."""
    made = activation(2)
    (group,) = made.parameter_groups()
    assert group.parameters == (made.clip,)
    assert group.weight_decay is None  # the recipe's
    assert group.learning_rate is None


def test_a_start_that_is_not_positive_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        activation(2, clip=0.0)
