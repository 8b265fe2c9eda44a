"""QuantNet-R, the reconstruction: tests Q1 to Q9 and Q11 of its specification, and its guards.

Q10 and Q12, which train a network, are in test_quantnet_training.py.
"""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from qbench.deployment.freeze import deployed_bytes, freeze
from qbench.errors import UsageError
from qbench.models.convert import quantize
from qbench.models.layers import set_mode
from qbench.quantizers import quantnet_subnetwork as sub
from qbench.quantizers.contract import Progress
from qbench.quantizers.quantnet import QuantNet
from qbench.quantizers.ste import GAUSSIAN_CLIP, STE


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.04 + 0.01


def made(weight: Tensor, bits: int = 1, tau: float = 1.0, **options: object) -> QuantNet:
    torch.manual_seed(0)
    quantizer = QuantNet(bit_width=bits, target="weight", **options)
    QuantNet.connect([quantizer])
    quantizer.initialize(weight, nn.Identity(), weight)
    quantizer.temperature.fill_(tau)
    return quantizer.to(weight.dtype)


def at(fraction: float) -> Progress:
    return Progress(round(1000 * fraction), 1000, 0, 100, learning_rate=0.1)


def formula(quantizer: QuantNet, w: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """z and u from the equations of the specification, section 2, one chunk at a time."""
    x = (w - w.mean()) / (w.std(correction=0) + 1e-8)
    (network,) = quantizer.networks.values()
    maps = (network.encode, network.compress, network.decode)
    (a, a0), (b, b0), (c, c0) = ((part.weight, part.bias) for part in maps)
    rows = []
    for v in x.reshape(-1, a.shape[1]):
        h = torch.tanh(a @ v + a0)
        h = h + torch.tanh(b @ h + b0)
        r = c @ h + c0
        rows.append(network.gain * r + (v if quantizer.skip else 0))
    n = 2**quantizer.bit_width - 1
    spacing = min(1.0, 2 * GAUSSIAN_CLIP[quantizer.bit_width - 1] / n)
    z = torch.stack(rows).reshape(w.shape) / spacing
    return z, sum(torch.tanh((z - (2 * i - n - 1) / 2) / tau) for i in range(1, n + 1)) / n


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("skip", [True, False])
def test_it_equals_the_equations_by_plain_autograd(bits: int, skip: bool) -> None:
    weight = drawn(4, 3, 3, 3).double()
    quantizer = made(weight, bits, tau=0.5, skip=skip, gain=0.7, hidden=5)
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    parameters = list(quantizer.parameters())
    toward = weight.cos() * torch.arange(4.0).view(-1, 1, 1, 1)  # any weighting of the outputs
    gradients = torch.autograd.grad((quantizer(ours) * toward).sum(), [ours, *parameters])
    _, soft = formula(quantizer, theirs, 0.5)
    value = soft * quantizer.alpha.view(-1, 1, 1, 1)
    expected = torch.autograd.grad((value * toward).sum(), [theirs, *parameters])
    assert torch.allclose(quantizer(weight), value, rtol=0, atol=1e-13)  # float64 rounding
    for one, other in zip(gradients, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-11)  # 1 / std multiplies it by 25


def test_q1_shape_range_and_determinism() -> None:
    for weight in (drawn(6, 4, 3, 3), drawn(6, 4, 1, 1), drawn(6, 20), drawn(6, 1, 5, 5)):
        quantizer = made(weight)
        quantizer.alpha.data.fill_(1.0)
        value = quantizer(weight)
        assert value.shape == weight.shape
        assert bool((value.abs() < 1).all())
        assert torch.equal(value, quantizer(weight))


@pytest.mark.parametrize(("bits", "tau"), [(1, 0.5), (2, 0.3)])
def test_q2_it_is_differentiable_throughout(bits: int, tau: float) -> None:
    weight = drawn(3, 2, 3, 3).double()
    quantizer = made(weight, bits, tau, hidden=4)
    assert check(quantizer, weight)


def test_q2_fails_for_constant_statistics_and_for_ste(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = drawn(3, 2, 3, 3).double()
    assert not check(STE(bit_width=1, target="weight").double(), weight)
    detached = lambda x: (x - x.mean().detach()) / x.std(correction=0).detach()  # noqa: E731
    monkeypatch.setattr(sub, "standardise", detached)
    assert not check(made(weight, tau=0.5, hidden=4), weight)


def check(quantizer: nn.Module, weight: Tensor) -> bool:
    inputs = (weight.clone().requires_grad_(), *quantizer.parameters())
    passed = gradcheck(
        lambda w, *_: quantizer(w), inputs, eps=1e-6, atol=1e-5, raise_exception=False
    )
    return bool(passed)


def test_q3_without_gain_it_is_a_tanh_of_the_standardised_weight() -> None:
    weight = drawn(8, 4, 3, 3).double()
    for tau, at_half in ((1.0, 0.46212), (0.1, 0.99991)):  # tanh(.5), tanh(5)
        quantizer = made(weight, tau=tau, gain=0.0)
        quantizer.alpha.data.fill_(1.0)
        expected = torch.tanh((weight - weight.mean()) / (weight.std(correction=0) * tau))
        assert torch.allclose(quantizer(weight), expected, atol=1e-6)  # 1e-8 beside std = 0.04
        assert curve([0.5], tau, 1)[0].item() == pytest.approx(at_half, abs=1e-5)


def curve(z: list[float], tau: float, bits: int) -> tuple[Tensor, Tensor]:
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = sub.staircase(x, torch.tensor(tau).double(), bits, sub.window_reach(bits, tau))
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def test_q4_levels_of_two_bits() -> None:
    value, _ = curve([0.5, -2.0, 2.0], 0.05, 2)
    assert value.tolist() == pytest.approx([1 / 3, -1, 1], abs=1e-4)
    z = torch.tensor([-9.0, -1e-9, 0.0, 1.0, 0.99, 9.0])
    assert sub.level_index(z, 1).tolist() == [0, 0, 1, 1, 1, 1]  # a tie at 0 goes up
    assert sub.level_index(z, 2).tolist() == [0, 1, 2, 3, 2, 3]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6])
def test_q4_every_level_is_used_on_normal_weights(bits: int) -> None:
    weight = drawn(64, 64, 3, 3)  # so many that the outermost of 64 levels is expected 20 times
    codes, codebook = made(weight, bits).codes(weight)
    assert codes.unique().tolist() == list(range(2**bits))
    unit = codebook / codebook[:, -1:]
    assert torch.allclose(unit, torch.linspace(-1, 1, 2**bits).expand_as(unit), atol=1e-6)


def test_q5_the_penalty_of_one_bit() -> None:
    quantizer = made(drawn(1, 1)).double()
    quantizer.pressure.fill_(1.0)
    quantizer.before_levels = lambda x: x  # type: ignore[method-assign]
    for soft, value in ((0.0, 1.0), (0.9, 0.01), (1.0, 0.0), (-1.0, 0.0)):
        assert penalty_at(quantizer, soft)[0] == pytest.approx(value, abs=1e-12)
    for soft, slope in ((0.5, -1.0), (-0.5, 1.0)):  # -2 (1 - |u|) sign(u)
        chain = 1 - soft**2  # du/dz at tau = 1
        assert penalty_at(quantizer, soft)[1] == pytest.approx(slope * chain, abs=1e-12)


def penalty_at(quantizer: QuantNet, soft: float) -> tuple[float, float]:
    z = torch.tensor([[math.atanh(soft) if abs(soft) < 1 else soft * 40]], dtype=torch.float64)
    z.requires_grad_()
    penalty = quantizer.penalty(z)
    assert penalty is not None
    (slope,) = torch.autograd.grad(penalty, z)
    return penalty.item(), slope.item()


def test_q6_there_is_no_dead_zone() -> None:
    assert curve([2.0], 1.0, 1)[1].item() == pytest.approx(0.07065, abs=1e-5)  # 1 - tanh(2)^2


def test_q7_it_can_fit_random_signs() -> None:
    weight = nn.Parameter(drawn(64, 8, 3, 3))
    assert fitted(weight, [weight], 300, mix="kernel") >= 0.99  # 0.998 was measured


def test_q7_the_sub_network_alone_bends_signs_and_an_elementwise_one_cannot() -> None:
    weight = drawn(64, 8, 3, 3)
    assert fitted(weight, [], 1000, mix="kernel") >= 0.80  # 0.892 was measured
    assert fitted(weight, [], 300, mix="elementwise") < 0.56  # 4,608 coin flips: 0.5 +- 0.007


def fitted(weight: Tensor, latent: list[nn.Parameter], steps: int, mix: str) -> float:
    """The share of random signs that the deployed weight has after minimising mean (u - T)^2."""
    target = torch.randint(0, 2, weight.shape, generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    quantizer = made(weight, mix=mix)
    quantizer.alpha.data.fill_(1.0)
    groups = [{"params": list(quantizer.networks.parameters()), "lr": 1e-3}]
    optimizer = torch.optim.Adam([*groups, {"params": latent, "lr": 2e-3}][: 1 + len(latent)])
    for step in range(steps):
        quantizer.temperature.fill_(0.1 ** min(step / 400, 1))
        optimizer.zero_grad()
        (quantizer(weight) - target).square().mean().backward()
        optimizer.step()
    return float((quantizer.codes(weight)[0] * 2 - 1 == target).float().mean())


def test_q8_the_start_keeps_the_signs() -> None:
    weight = drawn(64, 64, 3, 3)
    codes, _ = made(weight).codes(weight)
    assert float((codes == (weight >= weight.mean())).float().mean()) >= 0.97


def test_q9_what_is_deployed_computes_the_same_and_holds_neither_weight_nor_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3, bias=False))
    quantize(
        network, weights=lambda: QuantNet(bit_width=1, target="weight"), activations=None,
        keep_float=["first"],
    )  # fmt: skip
    layer = network[1]
    layer.weight_quantizer.initialize(layer.weight, layer, layer.weight)
    tensors = {name: part for name, part in freeze(network).items() if name.startswith("1.")}
    assert set(tensors) == {"1.weight.codes", "1.weight.codebook", "1.weight.shape"}
    del tensors["1.weight.shape"]
    # One bit a weight and, in qbench's format, both levels of each of 8 channels as float32.
    assert deployed_bytes(tensors) == 16 * 8 * 9 / 8 + 8 * 2 * 4
    images = torch.randn(2, 3, 8, 8)
    set_mode(network, "deployed")
    expected = network(images)
    codes, codebook = layer.weight_quantizer.codes(layer.weight)
    signs = (codes * 2 - 1).float() * layer.weight_quantizer.alpha.view(-1, 1, 1, 1)
    assert torch.allclose(nn.functional.conv2d(network[0](images), signs), expected, atol=1e-5)


def test_q11_at_the_first_step_the_gain_decides_who_learns() -> None:
    weight = drawn(8, 4, 3, 3)
    for gain, learns in ((0.1, True), (0.0, False)):
        quantizer = made(weight, gain=gain)
        quantizer(weight).mul(drawn(8, 4, 3, 3, seed=1)).sum().backward()
        (network,) = quantizer.networks.values()
        assert float(network.gain.grad.abs()) > 0
        for name, parameter in network.named_parameters():
            assert name == "gain" or bool((parameter.grad != 0).any()) is learns


@pytest.mark.parametrize("bits", [5, 8])
def test_the_window_of_thresholds_leaves_nothing_out(bits: int) -> None:
    z = torch.linspace(-1.1, 1.1, 301).double() * 2 ** (bits - 1)
    n = 2**bits - 1
    steps = torch.tanh(z.unsqueeze(1) - torch.arange(-(n // 2), n // 2 + 1))
    value, slope = curve(z.tolist(), 1.0, bits)
    assert torch.allclose(value, steps.mean(1), atol=1e-8)  # 1 - tanh(10) = 4e-9, twice
    assert torch.allclose(slope, (1 - steps**2).mean(1), atol=2e-8)


def test_chunks_of_linear_layers_are_padded_and_cut() -> None:
    weight = drawn(3, 13)
    chunks = sub.to_chunks(weight, 8)
    assert chunks.shape == (6, 8)
    assert torch.equal(chunks[1], torch.cat([weight[0, 8:], torch.zeros(3)]))
    assert torch.equal(sub.from_chunks(chunks, weight.shape), weight)


def test_layers_share_one_network_where_that_is_asked_and_the_penalty_is_their_mean() -> None:
    for shared, count in ((True, 1), (False, 2)):
        pair = [QuantNet(bit_width=1, target="weight", shared=shared) for _ in range(2)]
        QuantNet.connect(pair)
        for quantizer in pair:
            quantizer.initialize(drawn(4, 4, 3, 3), nn.Identity(), drawn(1))
            quantizer.set_progress(at(1.0))
        assert len({id(network) for q in pair for network in q.networks.values()}) == count
        assert pair[0].pressure.item() == 0.5  # lambda = 1 over 2 layers


def test_the_schedules() -> None:
    quantizer = made(drawn(4, 4, 3, 3))
    for done, tau, pressure in ((0, 1, 0), (0.25, 0.1**0.3125, 0.5), (0.8, 0.1, 1), (1, 0.1, 1)):
        quantizer.set_progress(at(done))
        assert quantizer.temperature.item() == pytest.approx(tau)
        assert quantizer.pressure.item() == pytest.approx(pressure)


def test_the_penalty_reuses_the_forward_and_keeps_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = nn.Parameter(drawn(4, 4, 3, 3))
    quantizer = made(weight)
    quantizer.set_progress(at(0.5))
    alone = quantizer.penalty(weight)
    quantizer(weight)
    copy.deepcopy(quantizer)
    monkeypatch.setattr(quantizer, "before_levels", None)  # a second evaluation would fail
    assert torch.equal(quantizer.penalty(weight), alone)
    assert quantizer._latest is None
    assert made(weight, polarisation=0.0).penalty(weight) is None


@pytest.mark.parametrize(
    "options",
    [{"hidden": 0}, {"polarisation": -1.0}, {"tau_end": 0.0}, {"tau_over": 1.5},
     {"polarise_over": -0.1}, {"tau_start": math.inf}],
)  # fmt: skip
def test_options_without_a_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        QuantNet(bit_width=1, target="weight", **options)
