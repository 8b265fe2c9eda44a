"""LQ-Nets: Zhang et al. 2018, algorithm 1, and correction 3 of the specification."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from qbench.quantizers.lqnets import LQNets
from qbench.quantizers.lqnets_basis import fitted, nearest, signs, sorted_levels

LLOYD_MAX = 0.1175  # the least squared error of four levels for a Gaussian (Max 1960, table I)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def iterate(x: Tensor, basis: Tensor, table: Tensor, times: int) -> tuple[Tensor, list[float]]:
    """The alternating minimization, and its mean squared errors before each round."""
    errors = []
    for _ in range(times):
        levels, bits = sorted_levels(basis, table)
        codes = nearest(x, levels)
        errors.append((levels.gather(1, codes) - x).square().mean().item())
        basis = fitted(x, codes, basis, bits)
    return basis, errors


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("lowest", [-1.0, 0.0])
def test_the_error_never_rises(bits: int, lowest: float) -> None:
    """[X] The squared error is non-increasing over the iterations."""
    x = normal(3, 4000) if lowest else normal(3, 4000).relu()
    start = 2.0 ** torch.arange(bits).expand(3, -1) * 0.3
    _, errors = iterate(x, start, signs(bits, lowest), 15)
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(errors))  # rounding in float32
    assert errors[-1] < errors[0]


def test_two_bits_reach_the_best_quantizer_of_a_gaussian() -> None:
    """[X] .1718 at the start to .1175."""
    x = normal(1, 40_000)
    start = torch.tensor([[0.5, 1.0]]) * 0.6745
    _, errors = iterate(x, start, signs(2, -1.0), 40)
    assert errors[-1] == pytest.approx(LLOYD_MAX, abs=0.002)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_fit_is_that_of_a_library_s_least_squares(bits: int) -> None:
    x = normal(5, 600).double()
    basis = 2.0 ** torch.arange(bits).double().expand(5, -1) * 0.2
    levels, planes = sorted_levels(basis, signs(bits, -1.0).double())
    codes = nearest(x, levels)
    found = fitted(x, codes, basis, planes)
    for row in range(5):
        design = planes[row][codes[row]]
        expected = torch.linalg.lstsq(design, x[row].unsqueeze(1)).solution.squeeze(1)
        assert torch.allclose(found[row], expected, atol=1e-4)  # it is held by 1e-5


def test_what_codes_do_not_determine_stays() -> None:
    basis = torch.tensor([[0.3, 0.7]])
    levels, bits = sorted_levels(basis, signs(2, 0.0))
    assert torch.equal(fitted(torch.zeros(1, 50), torch.zeros(1, 50).long(), basis, bits), basis)
    assert levels.tolist() == [pytest.approx([0, 0.3, 0.7, 1.0])]


def test_activations_have_codes_of_zeros_and_ones() -> None:
    made = LQNets(bit_width=2, target="activation")
    start = [0, 1.349 / 3, 1.349 * 2 / 3, 1.349]  # twice the quartile of a Gaussian
    assert made.codes(torch.ones(3))[1].tolist() == pytest.approx(start)
    x = normal(200)
    made.initialize(x, nn.Identity(), x)
    assert made.codes(x)[1].min() < 0  # unless inputs have a sign


def test_the_average_of_weights_is_without_its_bias() -> None:
    """Zero-debiased: the first update replaces the basis, the second weighs 0.1 / (1 - 0.81)."""
    weight = nn.Parameter(normal(4, 50))
    made = LQNets(bit_width=2, target="weight")
    made.initialize(weight, nn.Identity(), weight)

    def fit() -> Tensor:
        levels, bits = sorted_levels(made.basis, made.table)
        return fitted(weight.detach(), nearest(weight.detach(), levels), made.basis, bits)

    first = fit()
    made.after_backward(weight)
    assert torch.allclose(made.basis, first, atol=1e-6)
    second, before = fit(), made.basis.clone()
    made.after_backward(weight)
    rate = 0.1 / (1 - 0.9**2)
    assert torch.allclose(made.basis, before + rate * (second - before), atol=1e-6)


def test_activations_move_in_training_only_and_as_weights_do() -> None:
    """[X] Evaluation changes no buffers; the value of a step is of the basis before its update."""
    x = normal(4, 100).relu().requires_grad_()
    made = LQNets(bit_width=2, target="activation")
    before = made.basis.clone()
    first = made(x)
    assert torch.equal(made.basis, before)
    levels, bits = sorted_levels(before, made.table)
    rows = x.detach().reshape(1, -1)
    expected = fitted(rows, nearest(rows, levels), before, bits)
    for change in (made.eval, made.train):
        change()
        with torch.no_grad():
            assert torch.equal(made(x), first)
    made.eval()
    assert torch.equal(made(x), first)
    made.train()
    second = made(x)
    assert torch.allclose(made.basis, expected, atol=1e-6)
    assert torch.equal(second, made.deployed(x))


def test_the_gradient_is_the_identity_below_the_highest_level() -> None:
    x = torch.tensor([-1.0, 0.0, 0.5, 1.3, 1.4, 9.0], requires_grad=True)
    LQNets(bit_width=2, target="activation")(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1, 0, 0]  # 2 * 0.6745 = 1.349
    weight = normal(3, 7).requires_grad_()
    made = LQNets(bit_width=2, target="weight")
    made.initialize(weight, nn.Identity(), weight)
    made(weight * 10).sum().backward()
    assert torch.equal(weight.grad, torch.full((3, 7), 10.0))
