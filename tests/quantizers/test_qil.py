"""QIL: Jung et al. 2019, equations 1 to 4 with gamma = 1."""

import pytest
import torch
from torch import Tensor, nn

from qbench.quantizers.dorefa import DoReFa
from qbench.quantizers.qil import QIL


def made(bits: int, centre: float, half: float, target: str = "weight") -> QIL:
    quantizer = QIL(bit_width=bits, target=target)
    quantizer.centre.data.fill_(centre)
    quantizer.half_width.data.fill_(half)
    return quantizer


def transformed(w: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Equation 2: alpha = 0.5 / d, beta = -0.5 c / d + 0.5, gamma = 1."""
    alpha, beta = 0.5 / d, -0.5 * c / d + 0.5
    inner = (alpha * w.abs() + beta) * w.sign()
    return torch.where(w.abs() < c - d, 0.0, torch.where(w.abs() > c + d, w.sign(), inner))


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_it_equals_the_equations_by_plain_autograd(bits: int) -> None:
    w = torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    quantizer = made(bits, 0.75, 0.5).double()
    ours = w.clone().requires_grad_()
    value = quantizer(ours)
    (value * w.cos()).sum().backward()
    c, d = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.75, 0.5))
    theirs, n = w.clone().requires_grad_(), 2 ** (bits - 1) - 1
    smooth = transformed(theirs, c, d)
    expected = smooth + ((smooth * n).round() / n - smooth).detach()
    (expected * w.cos()).sum().backward()
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert torch.allclose(quantizer.centre.grad, c.grad, atol=1e-10)
    assert torch.allclose(quantizer.half_width.grad, d.grad, atol=1e-10)


def test_what_lies_below_the_interval_is_exactly_zero() -> None:
    w = torch.linspace(-0.249, 0.249, 99, requires_grad=True)
    value = made(3, 0.75, 0.5)(w)
    assert (value == 0).all()
    value.sum().backward()
    assert (w.grad == 0).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_levels_rise_with_the_magnitude_and_mirror(bits: int) -> None:
    w = torch.linspace(0, 2, 2001)
    quantizer = made(bits, 0.75, 0.5)
    value = quantizer(w).detach()
    assert (value.diff() >= 0).all()
    assert torch.equal(quantizer(-w), -value)
    assert len(torch.cat([value, -value]).unique()) == quantizer.levels == 2**bits - 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_at_one_half_it_is_the_plain_quantizer_of_the_unit_interval(bits: int) -> None:
    """gamma = 1, c = d = 0.5 gives round(n clip(x, 0, 1)) / n."""
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    plain = DoReFa(bit_width=bits, target="activation")
    own = [x.clone().requires_grad_() for _ in range(2)]
    quantizer = made(bits, 0.5, 0.5, "activation")
    values = [quantizer(own[0]), plain(own[1])]
    assert torch.allclose(*values, atol=1e-6)
    for value in values:
        (value * x.cos()).sum().backward()
    assert torch.allclose(own[0].grad, own[1].grad)


def test_gradients_at_the_edges_are_finite() -> None:
    w = torch.tensor([0.25, 1.25, -0.25, -1.25, 0.0], requires_grad=True)
    quantizer = made(2, 0.75, 0.5)
    quantizer(w).square().sum().backward()
    for gradient in (w.grad, quantizer.centre.grad, quantizer.half_width.grad):
        assert gradient.isfinite().all()


def test_the_start_spreads_weights_over_all_levels() -> None:
    w = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 0.05
    for bits in range(2, 9):
        quantizer = QIL(bit_width=bits, target="weight")
        quantizer.initialize(w, nn.Identity(), w)
        shares = torch.bincount(quantizer.codes(w)[0], minlength=quantizer.levels) / len(w)
        assert shares.max() < 0.6  # ternary: 55 % of a Gaussian lie within 0.75 sigma
        assert shares[[0, -1]].min() < shares.max()  # and the ends are rare
        assert (shares > 0).sum() >= 0.75 * quantizer.levels  # 5,000 weights, 255 levels
