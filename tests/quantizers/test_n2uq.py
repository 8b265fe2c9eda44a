"""N2UQ: Liu et al. 2022, equations 4 to 9, and correction 7 of the specification."""

import pytest
import torch
from torch import Tensor

from qbench.quantizers.n2uq import N2UQ


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uneven(bits: int) -> N2UQ:
    made = N2UQ(bit_width=bits, target="activation").double()
    made.widths.data.copy_(torch.linspace(0.1, 0.7, 2**bits - 1))
    made.start.data.fill_(-0.2)
    made.input_scale.data.fill_(0.9)
    made.output_scale.data.fill_(1.3)
    return made


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_equal_widths_are_uniform_rounding(bits: int) -> None:
    """[X] At the start: multiples of 2 / n in [0, 2]."""
    n = 2**bits - 1
    x = normal(3000).float() * 2
    value = N2UQ(bit_width=bits, target="activation")(x)
    expected = torch.floor(x.clamp(0, 2) * (n / 2) + 0.5) * (2 / n)
    assert torch.allclose(value, expected, atol=1e-6)


def test_the_slope_of_an_interval_is_the_step_over_its_width() -> None:
    """[X] (2 / n) / a_i in interval i, 0 outside all."""
    made = N2UQ(bit_width=2, target="activation")
    made.widths.data.copy_(torch.tensor([0.5, 1.0, 0.25]))
    x = torch.tensor([-0.1, 0.2, 0.9, 1.4, 1.6, 2.0], requires_grad=True)  # ends: .5, 1.5, 1.75
    made(x).sum().backward()
    step = 2 / 3
    assert x.grad.tolist() == pytest.approx([0, step / 0.5, step, step, step / 0.25, 0])


def expected_value(x: Tensor, made: dict[str, Tensor]) -> Tensor:
    """Of stochastic rounding within the intervals, equation 7, by plain autograd."""
    y, total = x * made["input_scale"], 0.0
    edge = made["start"]
    for width in made["widths"]:
        total = total + ((y - edge) / width).clamp(0, 1)
        edge = edge + width
    return total * (2 / len(made["widths"])) * made["output_scale"]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_gradient_is_that_of_stochastic_rounding(bits: int) -> None:
    x = normal(50, 20)
    made = uneven(bits)
    ours = x.clone().requires_grad_()
    (made(ours) * x.cos()).sum().backward()
    copies = {name: p.detach().clone().requires_grad_() for name, p in made.named_parameters()}
    theirs = x.clone().requires_grad_()
    smooth = expected_value(theirs, copies)
    (smooth * x.cos()).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-10)
    for name in ("start", "widths", "input_scale"):
        assert torch.allclose(made.get_parameter(name).grad, copies[name].grad, atol=1e-9), name
    hard = (made(x).detach() * x.cos()).sum() / 1.3  # the output scale's is of the hard value
    assert torch.allclose(made.output_scale.grad, hard, atol=1e-9)


def test_two_bit_weights_use_their_levels_evenly() -> None:
    """[X] Occupancy of a Gaussian: .213, .289, .286, .212."""
    w = normal(4, 100_000).float() * 0.05
    codes, codebook = N2UQ(bit_width=2, target="weight").codes(w)
    shares = torch.bincount(codes.flatten()) / codes.numel()
    assert shares.tolist() == pytest.approx([0.2125, 0.2875, 0.2875, 0.2125], abs=0.003)
    scale = 1.5 * w.abs().mean(1, keepdim=True)  # (2^2 - 1) / 2^(2 - 1)
    assert torch.allclose(codebook, scale * torch.tensor([-1, -1 / 3, 1 / 3, 1]), atol=1e-7)


@pytest.mark.parametrize("released", [False, True])
def test_the_weight_gradient_has_no_mask(released: bool) -> None:
    w = (normal(4, 9) * 0.1).requires_grad_()
    made = N2UQ(bit_width=2, target="weight", released_gradient=released)
    made(w).sum().backward()
    scale = 1.5 * w.detach().abs().mean(1, keepdim=True)
    expected = (1 / scale if released else torch.ones_like(scale)).expand_as(w)
    assert torch.allclose(w.grad, expected)


def test_one_bit_weights_are_signs_times_the_mean_of_the_filter() -> None:
    w = torch.tensor([[0.0, -0.2, 0.4], [1.0, 1.0, -1.0]])
    value = N2UQ(bit_width=1, target="weight")(w)
    assert torch.allclose(value, torch.tensor([[0.2, -0.2, 0.2], [1, 1, -1]]))


def test_a_width_that_is_not_positive_keeps_the_thresholds_in_order() -> None:
    made = uneven(2)
    made.widths.data[1] = -1.0
    x = torch.linspace(-1, 2, 400, dtype=torch.float64)
    assert (made(x).detach().diff() >= 0).all()
