"""Sign times scale: bnn, binaryconnect, bwn, xnor, bireal and reactnet, from their equations."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qbench.deployment.freeze import freeze
from qbench.deployment.load import load_deployed
from qbench.models.convert import initialize, quantize
from qbench.models.layers import set_mode
from qbench.quantizers.binaryconnect import BinaryConnect
from qbench.quantizers.bireal import BiReal
from qbench.quantizers.bnn import BNN
from qbench.quantizers.bwn import BWN
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.reactnet import ReActNet
from qbench.quantizers.ste import STE
from qbench.quantizers.xnor import XNOR

POINTS = torch.tensor([[-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]])
MEAN = POINTS.abs().mean().item()  # 6/7, of the only channel


def weight(kind: type[Quantizer], **options: Any) -> Quantizer:
    return kind(bit_width=1, target="weight", **options)


def activation(kind: type[Quantizer], x: Tensor) -> Quantizer:
    quantizer = kind(bit_width=1, target="activation")
    quantizer.initialize(x, nn.Identity(), x)
    return quantizer


def gradient(quantizer: Quantizer, x: Tensor, incoming: Tensor | None = None) -> Tensor:
    x = x.clone().requires_grad_()
    value = quantizer(x)
    value.backward(torch.ones_like(value) if incoming is None else incoming)
    return x.grad


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("target", ["weight", "activation"])
def test_b1_bnn_is_the_sign_with_the_slope_of_the_hard_tanh(target: str) -> None:
    quantizer = BNN(bit_width=1, target=target)
    assert quantizer(POINTS).tolist() == [[-1, -1, -1, 1, 1, 1, 1]]  # sign(0) = +1
    assert gradient(quantizer, POINTS).tolist() == [[0, 1, 1, 1, 1, 1, 0]]


@pytest.mark.parametrize("kind", [BNN, BinaryConnect, BWN, XNOR])
def test_b1_latent_weights_stay_in_the_unit_interval(kind: type[Quantizer]) -> None:
    latent = nn.Parameter(4 * normal(5, 6, 3, 3))
    weight(kind).after_step(latent)
    assert latent.abs().max() == 1


def test_b1_binaryconnect_passes_the_gradient_on_unchanged() -> None:
    incoming = normal(1, 7)
    assert torch.equal(gradient(weight(BinaryConnect), POINTS, incoming), incoming)


def test_b1_drawn_signs_have_the_weight_as_their_mean() -> None:
    torch.manual_seed(0)
    quantizer = weight(BinaryConnect, stochastic=True)
    points = torch.tensor([-1.5, -1.0, -0.6, 0.0, 0.6, 1.0, 1.5])
    drawn = quantizer(points.expand(40_000, 7))
    assert set(drawn.unique().tolist()) == {-1, 1}
    clipped = points.clamp(-1, 1)
    assert torch.allclose(drawn.mean(0), clipped, atol=0.025)  # 5 deviations of 1/sqrt(40,000)
    assert torch.equal(drawn.mean(0)[clipped.abs() == 1], clipped[clipped.abs() == 1])
    assert torch.equal(quantizer.deployed(POINTS), weight(BinaryConnect)(POINTS))
    assert (quantizer.stochastic, quantizer.trains_hard, quantizer.exact_at_end) == (1, 0, 0)
    plain = weight(BinaryConnect)
    assert (plain.stochastic, plain.trains_hard, plain.exact_at_end) == (0, 1, 1)
    assert BinaryConnect.stochastic is False


def test_b1_the_published_bound_is_glorots() -> None:
    """H = sqrt(1.5 / (fan in + fan out)) takes the place of 1: in levels, odds and clip."""
    latent, bound = nn.Parameter(normal(4, 6, 3, 3)), (1.5 / (6 * 9 + 4 * 9)) ** 0.5
    plain, drawn = (weight(BinaryConnect, bound="glorot", stochastic=s) for s in (False, True))
    assert torch.allclose(plain(latent), torch.where(latent >= 0, bound, -bound))
    assert torch.equal(plain(latent), plain.deployed(latent))
    torch.manual_seed(0)
    inside = torch.full_like(latent, 0.6 * bound)
    mean = torch.stack([drawn(inside) for _ in range(200)]).mean().item()
    assert mean == pytest.approx(0.6 * bound, abs=0.02 * bound)  # 5 deviations of 0.8/sqrt(43,200)
    plain.after_step(latent)
    assert latent.abs().max().item() == pytest.approx(bound)


def test_bnn_weights_are_those_of_binaryconnect() -> None:
    """With latent weights clipped to [-1, 1] the window is 1."""
    ends = []
    for kind in (BNN, BinaryConnect):
        quantizer, latent = weight(kind), nn.Parameter(normal(4, 9).clamp(-1, 1))
        for step in range(50):
            error = quantizer(latent) - normal(4, 9, seed=step) - 2 * normal(4, 9, seed=99)
            (slope,) = torch.autograd.grad(error.square().sum(), latent)
            latent.data.sub_(0.1 * slope)
            quantizer.after_step(latent)
        ends.append(latent.detach())
    assert torch.equal(*ends)
    assert bool((ends[0].abs() == 1).any())  # or the clip would be untested


@pytest.mark.parametrize("kind", [BWN, XNOR, BiReal, ReActNet])
def test_b2_the_scale_of_a_filter_has_the_least_squared_error(kind: type[Quantizer]) -> None:
    latent = normal(4, 3, 3, 3)
    quantizer = weight(kind)
    codes, codebook = quantizer.codes(latent)
    alpha = latent.abs().mean((1, 2, 3))
    assert torch.allclose(codebook, torch.stack([-alpha, alpha], 1))
    assert torch.equal(codes, (latent >= 0).long())
    value = quantizer(latent)
    error = (latent - value).square().sum((1, 2, 3))
    for factor in (0.99, 1.01):
        assert bool(((latent - factor * value).square().sum((1, 2, 3)) > error).all())
    assert torch.allclose(quantizer(3 * latent), 3 * value)


@pytest.mark.parametrize("kind", [BWN, XNOR])
def test_b2_the_gradient_is_the_papers(kind: type[Quantizer]) -> None:
    inside = torch.tensor([[0.0, 1, 1, 1, 1, 1, 0]])
    detached = gradient(weight(kind, detach_scale=True), POINTS)
    assert torch.allclose(detached, MEAN * inside)
    assert torch.allclose(gradient(weight(kind), POINTS), MEAN * inside + 1 / 7)  # n = 7 weights


def test_b2_weights_are_centred_over_their_input_channels() -> None:
    latent = nn.Parameter(0.1 * normal(4, 6, 3, 3) + 0.2)
    expected = latent.detach() - latent.detach().mean(1, keepdim=True)
    with torch.no_grad():
        weight(BWN).initialize(latent, nn.Identity(), latent)
    assert torch.allclose(latent, expected)
    single = nn.Parameter(0.1 * normal(4, 1, 3, 3))
    kept = single.detach().clone()
    weight(BWN).after_step(single)
    assert torch.equal(single, kept)  # centring would leave nothing


def test_b2_activations_are_those_of_bnn() -> None:
    ours, theirs = (kind(bit_width=1, target="activation") for kind in (XNOR, BNN))
    assert torch.equal(ours(POINTS), theirs(POINTS))
    assert torch.equal(gradient(ours, POINTS), gradient(theirs, POINTS))


@pytest.mark.parametrize("kind", [BiReal, ReActNet])
def test_b13_the_tent_of_activations(kind: type[Quantizer]) -> None:
    x = torch.tensor([[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]])
    quantizer = activation(kind, x)
    assert quantizer(x).tolist() == [[-1, -1, -1, 1, 1, 1, 1]]
    assert gradient(quantizer, x).tolist() == [[0, 0, 1, 2, 1, 0, 0]]
    fine = torch.linspace(-2, 2, 4001)[None]
    area = gradient(activation(kind, fine), fine).sum().item() * 0.001
    assert area == pytest.approx(2, abs=1e-5)  # as the step's rise; the trapezoid is exact here


def test_b13_bireal_weights_are_those_of_xnor_with_a_constant_scale() -> None:
    latent, incoming = normal(4, 3, 3, 3), normal(4, 3, 3, 3, seed=1)
    ours, theirs = weight(BiReal), weight(XNOR, detach_scale=True)
    assert torch.equal(ours(latent), theirs(latent))
    assert torch.equal(gradient(ours, latent, incoming), gradient(theirs, latent, incoming))


def test_b14_reactnet_weights_are_those_of_ste_with_the_clipped_rule() -> None:
    """No factor mean|w| in the gradient, as in the published code; bireal has it."""
    latent, incoming = normal(4, 3, 3, 3), normal(4, 3, 3, 3, seed=1)
    ours, theirs = weight(ReActNet), weight(STE, weight_backward="clipped")
    assert torch.allclose(ours(latent), theirs(latent))
    assert torch.equal(gradient(ours, latent, incoming), gradient(theirs, latent, incoming))


@pytest.mark.parametrize(
    ("shape", "spread"),
    [((8, 5, 4, 4), (5, 1, 1)), ((8, 5), (5,)), ((8, 3, 5), (5,))],
    ids=["convolution", "linear", "tokens"],
)
def test_b14_thresholds_are_a_channels_own_and_learn_by_the_tent(
    shape: tuple[int, ...], spread: tuple[int, ...]
) -> None:
    x, incoming = normal(*shape), normal(*shape, seed=1)
    quantizer = activation(ReActNet, x)
    assert torch.equal(quantizer.shift, torch.zeros(5))
    quantizer.shift.data.copy_(torch.linspace(-0.5, 0.5, 5))
    shifted = x - quantizer.shift.detach().view(spread)
    assert torch.equal(quantizer(x), torch.where(shifted >= 0, 1.0, -1.0))
    assert torch.equal(quantizer.deployed(x), quantizer(x))
    slope = gradient(quantizer, x, incoming)
    expected = incoming * (2 - 2 * shifted.abs()).clamp_min(0)
    assert torch.allclose(slope, expected)
    others = [axis for axis in range(x.ndim) if axis != (1 if x.ndim == 4 else x.ndim - 1)]
    assert torch.allclose(quantizer.shift.grad, -expected.sum(others), atol=1e-5)


def test_b14_without_thresholds_it_is_bireal() -> None:
    x, incoming = normal(8, 5, 4, 4), normal(8, 5, 4, 4, seed=1)
    ours, theirs = activation(ReActNet, x), activation(BiReal, x)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(gradient(ours, x, incoming), gradient(theirs, x, incoming))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Hardtanh(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    )
    quantize(
        model,
        weights=lambda: ReActNet(bit_width=1, target="weight"),
        activations=lambda: ReActNet(bit_width=1, target="activation"),
        keep_float=("first",),
    )
    return model


def test_b14_a_deployed_network_has_its_thresholds() -> None:
    model, images = network(), normal(6, 3, 6, 6)
    initialize(model, images)
    for part in model.modules():
        if isinstance(part, ReActNet) and part.target == "activation":
            part.shift.data.copy_(0.3 * normal(len(part.shift)))
    loaded = load_deployed(freeze(model), network())
    set_mode(model, "deployed")
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
