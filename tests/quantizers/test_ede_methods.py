"""IR-Net and AdaBin, whose slope decays from the identity's into the step's."""

import math

import pytest
import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.adabin import AdaBin
from qbench.quantizers.contract import Progress, Quantizer
from qbench.quantizers.irnet import IRNet


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def at(epoch: int, epochs: int = 100) -> Progress:
    return Progress(epoch * 10, epochs * 10, epoch, epochs, learning_rate=0.1)


def made(kind: type[Quantizer], target: str, epoch: int = 60) -> Quantizer:
    quantizer = kind(bit_width=1, target=target).double()
    quantizer.set_progress(at(epoch))
    return quantizer


def estimated_sign(x: Tensor, quantizer: Quantizer) -> Tensor:
    """The sign with the slope k t (1 - tanh^2(t x)), by plain autograd."""
    t = quantizer.sharpness
    soft = torch.clamp(1 / t, min=1) * torch.tanh(t * x)
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype) - soft.detach() + soft


def spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def irnet(weight: Tensor, quantizer: Quantizer) -> Tensor:
    centred = weight - spread(weight.mean((1, 2, 3)))
    balanced = centred / spread(centred.flatten(1).std(1))
    power = balanced.abs().mean((1, 2, 3)).log2().round().detach()
    return estimated_sign(balanced, quantizer) * spread(2**power)


def adabin(weight: Tensor, quantizer: Quantizer) -> Tensor:
    beta = spread(weight.mean((1, 2, 3)))
    alpha = spread((weight - beta).square().mean((1, 2, 3)).sqrt())
    return alpha * estimated_sign((weight - beta) / alpha, quantizer) + beta


@pytest.mark.parametrize(("kind", "paper"), [(IRNet, irnet), (AdaBin, adabin)])
@pytest.mark.parametrize("epoch", [0, 40, 100])
def test_weights_are_the_papers_in_value_and_gradient(kind, paper, epoch: int) -> None:
    """The gradient flows through mean and deviation; detaching them changes it by up to 29 %."""
    quantizer = made(kind, "weight", epoch)
    weight = 0.3 * normal(6, 4, 3, 3, dtype=torch.float64) + 0.1
    incoming = normal(6, 4, 3, 3, seed=1, dtype=torch.float64)
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    value, expected = quantizer(ours), paper(theirs, quantizer)
    assert torch.allclose(value, expected, atol=1e-12)
    value.backward(incoming)
    expected.backward(incoming)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [IRNet, AdaBin])
def test_the_sharpness_goes_from_end_to_end_by_epoch(kind: type[Quantizer]) -> None:
    quantizer = kind(bit_width=1, target="weight", sharpness_start=0.1, sharpness_end=10.0)
    for epoch, sharpness in ((0, 0.1), (50, 1.0), (75, math.sqrt(10)), (100, 10.0)):
        quantizer.set_progress(at(epoch))
        assert quantizer.sharpness.item() == pytest.approx(sharpness)
        assert quantizer.height.item() == pytest.approx(max(1, sharpness))  # k t, b12


def test_the_published_ends_of_the_schedule() -> None:
    """IR-Net's paper and two of its three scripts begin at 0.1, AdaBin's script at 0.001."""
    starts = {kind: kind(bit_width=1, target="weight").sharpness for kind in (IRNet, AdaBin)}
    assert {kind: round(start.item(), 6) for kind, start in starts.items()} == {
        IRNet: 0.1,
        AdaBin: 0.001,
    }


@pytest.mark.parametrize("epoch", [0, 50, 80, 100])
def test_b12_the_slope_of_activations_is_the_estimators(epoch: int) -> None:
    quantizer = made(IRNet, "activation", epoch)
    x = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_()
    value = quantizer(x)
    assert torch.equal(value, torch.where(x >= 0, 1.0, -1.0))
    value.sum().backward()
    t = quantizer.sharpness
    expected = torch.clamp(1 / t, min=1) * t * (1 - (t * x.detach()).tanh().square())
    assert torch.allclose(x.grad, expected)
    assert x.grad[30].item() == pytest.approx(max(1.0, t.item()))  # at 0


def test_b12_weights_do_not_see_scale_and_offset() -> None:
    weight = normal(6, 4, 3, 3, dtype=torch.float64)
    quantizer = made(IRNet, "weight")
    assert torch.equal(quantizer(weight), quantizer(3.7 * weight - 0.4))


def test_b12_the_gradient_is_orthogonal_to_what_changes_nothing() -> None:
    weight = normal(6, 36, dtype=torch.float64).requires_grad_()
    made(IRNet, "weight")(weight).backward(normal(6, 36, seed=1, dtype=torch.float64))
    assert torch.allclose(weight.grad.sum(1), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    along = (weight.grad * weight.detach()).sum(1)
    assert torch.allclose(along, torch.zeros(6, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_b12_scales_are_powers_of_two(size: float) -> None:
    heavy = normal(6, 4, 3, 3).pow(5) * size  # of long tails: mean|v| is not always near 0.8
    _, codebook = IRNet(bit_width=1, target="weight").codes(heavy)
    assert torch.equal(torch.frexp(codebook[:, 1]).mantissa, torch.full((6,), 0.5))
    assert torch.equal(codebook[:, 0], -codebook[:, 1])
    assert len(codebook[:, 1].unique()) > 1


def test_b12_signs_are_balanced() -> None:
    weight = normal(4, 5000) + 0.662  # 74.6 % of a normal variable lie above -0.662
    assert (weight > 0).double().mean().item() == pytest.approx(0.746, abs=0.01)
    codes, _ = IRNet(bit_width=1, target="weight").codes(weight)
    assert codes.double().mean().item() == pytest.approx(0.5, abs=0.02)  # 5 / (2 sqrt(20,000))


def test_b22_the_levels_have_the_filters_mean_and_deviation() -> None:
    weight = normal(6, 4, 3, 3) * 0.2 + 0.05
    codes, codebook = AdaBin(bit_width=1, target="weight").codes(weight)
    flat = weight.flatten(1)
    assert torch.allclose(codebook.mean(1), flat.mean(1), atol=1e-6)
    assert torch.allclose(codebook.std(1, correction=0), flat.std(1, correction=0), atol=1e-6)
    assert bool((codebook[:, 1] > codebook[:, 0]).all())
    assert torch.equal(codes, (weight >= spread(flat.mean(1))).long())


def test_b22_quantizing_twice_is_another_thing() -> None:
    quantizer = AdaBin(bit_width=1, target="weight")
    once = quantizer.deployed(normal(6, 4, 3, 3).exp())
    assert not torch.allclose(quantizer.deployed(once), once)


@pytest.mark.parametrize(("size", "centre"), [(1.0, 0.0), (0.7, 0.3), (-0.6, -0.2)])
def test_b22_activations_are_the_papers_in_value_and_gradients(size: float, centre: float) -> None:
    x = normal(8, 5, 4, 4, dtype=torch.float64)
    incoming = normal(8, 5, 4, 4, seed=1, dtype=torch.float64)
    quantizer = made(AdaBin, "activation")
    quantizer.size.data.fill_(size)
    quantizer.centre.data.fill_(centre)
    ours = x.clone().requires_grad_()
    value = quantizer(ours)
    value.backward(incoming)
    theirs = x.clone().requires_grad_()
    alpha = torch.tensor(size, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(centre, dtype=torch.float64, requires_grad=True)
    unit = (theirs - beta) / alpha.abs()
    inner = unit.clamp(-1, 1)
    soft = 2 * inner - inner * inner.abs()  # its slope is 2 - 2|u|
    hard = torch.where(unit >= 0, 1.0, -1.0) - soft.detach() + soft
    expected = alpha.abs() * hard + beta
    expected.backward(incoming)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad)
    assert torch.allclose(quantizer.size.grad, alpha.grad)
    assert torch.allclose(quantizer.centre.grad, beta.grad)


def test_b22_activations_start_as_signs() -> None:
    x = normal(4, 5)
    assert torch.equal(AdaBin(bit_width=1, target="activation")(x), torch.where(x >= 0, 1.0, -1.0))


@pytest.mark.parametrize("kind", [IRNet, AdaBin])
def test_a_sharpness_of_zero_is_refused(kind: type[Quantizer]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        kind(bit_width=1, target="weight", sharpness_start=0.0)
