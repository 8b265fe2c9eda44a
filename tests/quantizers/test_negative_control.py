"""Negative controls: the forward of ste, and exactly the gradient that they say."""

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.probe import LayerGradients, Probe
from qbench.models.convert import initialize, quantize
from qbench.quantizers.negative_control import NegativeControl
from qbench.quantizers.ste import STE
from qbench.registry import quantizers

SPOILED = ["random_gradient", "negated_gradient", "scaled_gradient"]
KINDS = [*SPOILED, "random_signs"]


def latent() -> Tensor:
    return torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1


def started(quantizer: STE, x: Tensor, seed: int = 0) -> STE:
    torch.manual_seed(seed)
    with torch.no_grad():
        quantizer.initialize(x, nn.Identity(), x)
    return quantizer


def gradient(quantizer: STE, x: Tensor, incoming: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(quantizer(x), x, incoming)
    return found


def control(kind: str, bits: int = 1, **options: float) -> NegativeControl:
    return NegativeControl(bit_width=bits, target="weight", kind=kind, **options)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", SPOILED)
def test_the_forward_is_that_of_ste(kind: str, bits: int) -> None:
    x = latent()
    quantizer, plain = started(control(kind, bits), x), STE(bit_width=bits, target="weight")
    assert torch.equal(quantizer(x), plain(x))
    assert torch.equal(quantizer.deployed(x), plain.deployed(x))


def test_negated_and_scaled_are_exact() -> None:
    x, g = latent(), latent().flip(0)
    assert torch.equal(gradient(control("negated_gradient"), x, g), -g)
    assert torch.equal(gradient(control("scaled_gradient"), x, g), 10 * g)
    assert torch.equal(gradient(control("scaled_gradient", scale=0.5), x, g), 0.5 * g)


def test_random_keeps_the_norm_and_nothing_else() -> None:
    x, g = latent(), latent().flip(0)
    quantizer = control("random_gradient")
    torch.manual_seed(0)
    draws = [gradient(quantizer, x, g) for _ in range(200)]
    for drawn in draws:
        assert drawn.norm().item() == pytest.approx(g.norm().item(), rel=1e-5)  # float32
    cosines = torch.stack([torch.cosine_similarity(d.flatten(), g.flatten(), 0) for d in draws])
    one = g.numel() ** -0.5  # the standard deviation of a random direction's cosine
    assert abs(cosines.mean().item()) < 4 * one / 200**0.5
    assert cosines.std().item() == pytest.approx(one, rel=0.2)  # 4 standard errors, 1/sqrt(400)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(gradient(quantizer, x, g * 0), g * 0)


def test_random_draws_come_from_the_state_that_a_checkpoint_keeps() -> None:
    x, g = latent(), latent().flip(0)
    state = torch.get_rng_state()
    one = gradient(control("random_gradient"), x, g)
    torch.set_rng_state(state)
    assert torch.equal(gradient(control("random_gradient"), x, g), one)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_random_signs_are_drawn_once_and_stay(bits: int) -> None:
    x = latent()
    quantizer = started(control("random_signs", bits), x, seed=7)  # not that of the latents
    plain = STE(bit_width=bits, target="weight")
    codes, codebook = quantizer.codes(x)
    assert torch.equal(codebook, plain.codes(x)[1])  # the scale is that of ste
    assert torch.equal(quantizer(x), quantizer.deployed(x))
    moved = -3 * x + 0.1
    assert torch.equal(quantizer.codes(moved)[0], codes)
    assert torch.equal(quantizer.codes(moved)[1], plain.codes(moved)[1])
    agree = (codes == plain.codes(x)[0]).double().mean().item()
    share = torch.bincount(codes.flatten(), minlength=2**bits).double() / codes.numel()
    chance = share.square().sum().item()
    assert agree == pytest.approx(chance, abs=0.06)  # 4 standard errors of 1152 weights
    other = started(control("random_signs", bits), x, seed=1)
    assert not torch.equal(other.codes(x)[0], codes)
    g = latent().flip(0)
    assert torch.equal(gradient(quantizer, x, g), g)


def test_fixed_codes_are_part_of_the_state() -> None:
    x = latent()
    one, other = (started(control("random_signs"), x, seed) for seed in (0, 1))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.deployed(x), one.deployed(x))
    assert one.drawn.dtype == torch.uint8
    meta = one.to("meta")
    meta(torch.empty_like(x, device="meta", requires_grad=True)).sum().backward()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e6])
def test_everything_is_finite(kind: str, factor: float) -> None:
    x = latent() * factor
    quantizer = started(control(kind, 2), x)
    assert quantizer(x).isfinite().all()
    assert gradient(quantizer, x, quantizer(x)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_those_of_ste(kind: str) -> None:
    x = latent()
    quantizer = started(NegativeControl(bit_width=2, target="activation", kind=kind), x)
    plain = started(STE(bit_width=2, target="activation"), x)
    assert torch.equal(quantizer(x), plain(x))
    assert torch.equal(quantizer.deployed(x), plain.deployed(x))
    g = x.flip(0)
    assert torch.equal(gradient(quantizer, x, g), gradient(plain, x, g))


def probed(**options: str) -> LayerGradients:
    """What a diagnostic sees of the first of two layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.Linear(40, 10))
    quantize(
        model,
        weights=lambda: (NegativeControl if options else STE)(
            bit_width=1, target="weight", **options
        ),
        activations=None,
        keep_float=[],
    )
    images, labels = torch.randn(64, 30), torch.arange(64) % 10
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    with probe.undisturbed():
        return probe.gradients["0"]


def test_t15_diagnostics_see_the_control_in_g_and_not_in_gamma() -> None:
    plain = probed()
    seen = {kind: probed(kind=kind) for kind in SPOILED}
    for found in seen.values():
        assert torch.equal(found.used, plain.used)
        assert torch.equal(found.at_used, plain.at_used)
    assert torch.equal(seen["negated_gradient"].latent, -plain.latent)
    assert torch.equal(seen["scaled_gradient"].latent, 10 * plain.latent)
    g = seen["random_gradient"].latent.flatten()
    cosine = torch.cosine_similarity(g, plain.latent.flatten(), 0).item()
    assert abs(cosine) < 3 * g.numel() ** -0.5  # T15: three standard errors


def test_it_says_that_it_is_no_method() -> None:
    entry = quantizers.entry("negative_control")
    for text in (entry.summary, entry.facts["paper"], entry.facts["note"]):
        assert "control, not a method" in text
