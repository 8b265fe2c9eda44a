"""DoReFa: Zhou et al. 2016, equations 7, 9 and 11."""

import pytest
import torch

from qbench.quantizers.dorefa import DoReFa


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def reference(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Equation 9 with plain autograd; max|tanh w| is a constant."""
    n = 2**bits - 1
    squashed = weight.tanh()
    unit = squashed / (2 * squashed.abs().max().detach()) + 0.5
    return 2 * Round.apply(unit * n) / n - 1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_equal_the_paper_in_value_and_gradient(bits: int) -> None:
    weight = torch.randn(8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    factor = torch.linspace(-1, 1, 9, dtype=torch.float64)
    value = DoReFa(bit_width=bits, target="weight")(ours)
    expected = reference(theirs, bits)
    assert torch.allclose(value, expected, atol=1e-12)
    (value * factor).sum().backward()
    (expected * factor).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_the_worked_example() -> None:
    """W~ = [0, .370420, .5, .691252, .803388] for these weights; 2 bits gives these levels."""
    weight = torch.tensor([-1.0, -0.2, 0.0, 0.3, 0.5])
    quantizer = DoReFa(bit_width=2, target="weight")
    assert torch.allclose(
        quantizer._unit(weight),
        torch.tensor([0.0, 0.370420, 0.5, 0.691252, 0.803388]),
        atol=1e-6,
    )
    value = quantizer(weight)[[0, 1, 3, 4]]
    assert torch.allclose(value, torch.tensor([-1.0, -1 / 3, 1 / 3, 1 / 3]))


def test_the_largest_weight_reaches_the_end_and_signs_mirror() -> None:
    weight = torch.randn(200, generator=torch.Generator().manual_seed(1))
    value = DoReFa(bit_width=3, target="weight")(weight)
    assert value.abs().max() == 1
    assert torch.allclose(DoReFa(bit_width=3, target="weight")(-weight), -value, atol=1e-6)


def test_one_bit_weights_are_sign_times_one_mean_of_the_layer() -> None:
    weight = torch.tensor([[0.5, -0.25], [0.0, -0.25]], requires_grad=True)
    value = DoReFa(bit_width=1, target="weight")(weight)
    assert value.tolist() == [[0.25, -0.25], [0.25, -0.25]]  # equation 7: E|w| of the layer
    value.sum().backward()
    assert torch.equal(weight.grad, torch.ones(2, 2))


def test_activations_are_clipped_to_the_unit_interval() -> None:
    x = torch.tensor([-0.5, 0.0, 0.2, 0.5, 1.0, 1.5], requires_grad=True)
    value = DoReFa(bit_width=2, target="activation")(x)
    assert torch.allclose(value, torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1]))  # 1.5 rounds to even, 2
    value.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]
