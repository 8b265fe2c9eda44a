"""Quantization Networks: the numbered tests of its specification, from the paper's equations."""

import math

import pytest
import torch
from torch import Tensor, nn

from qbench.deployment.freeze import freeze
from qbench.errors import UsageError
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.models.layers import QuantLayer, quantized_layers
from qbench.quantizers.contract import Progress
from qbench.quantizers.level_sets import start_thresholds
from qbench.quantizers.quantization_networks import QuantizationNetworks
from qbench.quantizers.soft_steps import nearest_needed, neglected, soft_steps
from qbench.study.schema import Component, Optimizer, Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers

WIDE = {  # the set 3(+-4) with thresholds for the tables of QN1
    "thresholds": torch.tensor([-3, -1.5, -0.05, 0.05, 1.5, 3], dtype=torch.float64),
    "steps": (2.0, 1.0, 1.0, 1.0, 1.0, 2.0),
    "lowest": -4.0,
}
TERNARY = {
    "thresholds": torch.tensor([-0.05, 0.05], dtype=torch.float64),
    "steps": (1.0, 1.0),
    "lowest": -1.0,
}
BINARY = {"thresholds": torch.zeros(1, dtype=torch.float64), "steps": (2.0,), "lowest": -1.0}


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def soft(x: Tensor, alpha: float, beta: float, temperature: float, levels: dict) -> Tensor:
    return soft_steps(x, number(alpha), number(beta), temperature=number(temperature), **levels)


def equation(
    x: Tensor, alpha: Tensor, beta: Tensor, temperature: float, levels: dict, b: Tensor
) -> Tensor:
    """Equations 6 and 7, for plain autograd."""
    offset = sum(levels["steps"]) / 2
    terms = [
        s * torch.sigmoid(temperature * (beta * x - threshold))
        for s, threshold in zip(levels["steps"], b, strict=True)
    ]
    return alpha * (sum(terms) - offset)


def hard(x: Tensor, alpha: float, beta: float, levels: dict) -> Tensor:
    passed = (beta * x)[..., None] >= levels["thresholds"]
    steps = torch.tensor(levels["steps"], dtype=torch.float64)
    return alpha * ((passed * steps).sum(-1) + levels["lowest"])


def gaussian(count: int = 20_000, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def started(bits: int, target: str, x: Tensor, **options: object) -> QuantizationNetworks:
    made = QuantizationNetworks(bit_width=bits, target=target, **options)
    made.initialize(x, nn.Identity(), x)
    return made


def at(epoch: int, epochs: int = 55, steps_per_epoch: int = 10) -> Progress:
    return Progress(epoch * steps_per_epoch, epochs * steps_per_epoch, epoch, epochs, 0.1)


def network(weight: int, activation: int, **options: object) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = build_model(Component(name="resnet8"), channels=1, classes=4, size=8)

    def factory(target: str, bits: int) -> object:
        return lambda: QuantizationNetworks(bit_width=bits, target=target, **options)

    quantize(
        model,
        weights=factory("weight", weight),
        activations=factory("activation", activation) if activation < 32 else None,
        keep_float=("first", "last"),
    )
    labels = torch.arange(16) % 4
    images = torch.randn(16, 1, 8, 8) + labels.view(-1, 1, 1, 1)
    initialize(model, images)
    return model, images, labels


def engine_for(model: nn.Module) -> Engine:
    training = Training(optimizer=Optimizer(learning_rate=0.01), clip_gradient=5.0)
    return Engine(model, make_optimizers(model, training), training)


def test_qn1_values_of_the_steps() -> None:
    """QN1, checked numbers of the specification."""
    x = torch.tensor([-1, -0.5, -0.2, 0, 0.004, 0.02, 0.4, 1], dtype=torch.float64)
    made = QuantizationNetworks(bit_width=3, target="weight")
    made.thresholds.copy_(WIDE["thresholds"])
    made.alpha.data.fill_(0.2)
    made.beta.data.fill_(5.0)
    expected = torch.tensor([-0.8, -0.4, -0.2, 0, 0, 0.2, 0.4, 0.8])
    assert torch.equal(made.deployed(x.float()), expected)
    dense = made.deployed(torch.linspace(-2, 2, 4001))
    assert torch.equal(dense.unique(), 0.2 * torch.tensor([-4.0, -2, -1, 0, 1, 2, 4]))
    at_10 = [-0.8, -0.402668, -0.201318, 0, 0.018749, 0.088007, 0.398680, 0.8]
    at_100 = [-0.8, -0.4, -0.2, 0, 0.009303, 0.198661, 0.4, 0.8]
    for temperature, values in ((10.0, at_10), (100.0, at_100)):
        found = soft(x, 0.2, 5.0, temperature, WIDE)
        assert found.tolist() == pytest.approx(values, abs=1e-6)  # as printed: six digits


def test_qn2_the_soft_steps_approach_the_hard_ones() -> None:
    """QN2: the bound of every term, and half a step at a threshold."""
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    distance = (5 * x[:, None] - WIDE["thresholds"]).abs().min(1).values
    for temperature in (5.0, 100.0, 1e3, 1e5):
        error = (soft(x, 0.2, 5.0, temperature, WIDE) - hard(x, 0.2, 5.0, WIDE)).abs()
        bound = 0.2 * sum(WIDE["steps"]) * torch.sigmoid(-temperature * distance)
        assert (error <= bound + 1e-15).all()  # rounding of sums of about 1
    middle = soft(torch.tensor([0.3], dtype=torch.float64), 0.2, 5.0, 1e3, WIDE)
    assert middle.item() == pytest.approx(0.2 * 1.5, abs=1e-12)  # between the levels 1 and 2


def test_qn3_ternary_values_and_slopes() -> None:
    """QN3, checked numbers of the specification."""
    x = torch.tensor([0, 0.05, 0.5], dtype=torch.float64, requires_grad=True)
    y = soft(x, 1.0, 1.0, 10.0, TERNARY)
    y.sum().backward()
    assert y.tolist() == pytest.approx([0, 0.231059, 0.984943], abs=1e-6)
    assert x.grad.tolist() == pytest.approx([4.700074, 4.466119, 0.149198], abs=1e-6)
    grid = torch.linspace(-2, 2, 1001, dtype=torch.float64)
    odd = soft(grid, 1.0, 1.0, 10.0, TERNARY) + soft(-grid, 1.0, 1.0, 10.0, TERNARY)
    assert odd.abs().max() < 1e-12  # rounding of float64


def test_qn4_one_bit_is_a_hyperbolic_tangent() -> None:
    """QN4: also the released form, two steps of 1 at the same threshold."""
    x = torch.linspace(-2, 2, 1001, dtype=torch.float64)
    y = soft(x, 0.7, 1.3, 9.0, BINARY)
    assert torch.allclose(y, 0.7 * torch.tanh(9 * 1.3 * x / 2), rtol=0, atol=1e-12)
    twice = {"thresholds": torch.zeros(2).double(), "steps": (1.0, 1.0), "lowest": -1.0}
    assert torch.equal(y, soft(x, 0.7, 1.3, 9.0, twice))


@pytest.mark.parametrize("levels", [WIDE, TERNARY, BINARY])
def test_qn5_gradients_are_those_of_the_forward(levels: dict) -> None:
    """QN5: autograd of the equation, and finite differences, at T = 7."""
    x = gaussian(60).double() * 0.4
    weights = x.cos()
    ours = [x.clone().requires_grad_(), number(0.2).requires_grad_(), number(5.0).requires_grad_()]
    theirs = [part.detach().clone().requires_grad_() for part in ours]
    (soft_steps(*ours, temperature=number(7.0), **levels) * weights).sum().backward()
    b = levels["thresholds"]
    (equation(*theirs, 7.0, levels, b) * weights).sum().backward()
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, reference.grad, rtol=1e-6, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda *parts: soft_steps(*parts, temperature=number(7.0), **levels), ours
    )


def test_qn5_the_printed_equation_is_not_the_derivative() -> None:
    """QN5: equation 8 with g the sigmoid; alpha s g (alpha s - g) is not alpha s g (1 - g)."""
    x = (gaussian(60).double() * 0.4).requires_grad_()
    soft(x, 0.2, 5.0, 7.0, WIDE).sum().backward()
    g = torch.sigmoid(7 * (5 * x.detach()[:, None] - WIDE["thresholds"]))
    scaled = 0.2 * torch.tensor(WIDE["steps"]).double()
    printed = (7 * 5 * scaled * g * (scaled - g)).sum(1)
    assert (printed - x.grad).norm() / x.grad.norm() > 1  # the specification measured 2.3


def test_qn5_thresholds_are_frozen_and_move_the_value_by_their_formula() -> None:
    """QN5: dl/db_i = -sum alpha T s_i g_i (1 - g_i), here by finite differences."""
    assert not QuantizationNetworks(bit_width=3, target="weight").thresholds.requires_grad
    x, b, tiny = gaussian(60).double() * 0.4, WIDE["thresholds"], 1e-6
    g = torch.sigmoid(7 * (5 * x[:, None] - b))
    formula = -(0.2 * 7 * torch.tensor(WIDE["steps"]) * g * (1 - g)).sum(0)
    for i in range(len(b)):
        shift = torch.zeros_like(b).index_fill_(0, torch.tensor(i), tiny)
        up, down = (
            soft(x, 0.2, 5.0, 7.0, WIDE | {"thresholds": b + sign * shift}).sum()
            for sign in (1, -1)
        )
        assert ((up - down) / (2 * tiny)).item() == pytest.approx(formula[i].item(), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 10.0, 100.0])
def test_qn6_the_mass_of_the_slope(temperature: float) -> None:
    """QN6: the slope integrates to the span of the levels, and peaks at alpha beta T s / 4."""
    x = torch.linspace(-8, 8, 400_001, dtype=torch.float64, requires_grad=True)
    y = soft(x, 0.7, 1.0, temperature, WIDE)
    y.sum().backward()
    mass = torch.trapezoid(x.grad, x.detach())
    assert mass.item() == pytest.approx((y[-1] - y[0]).item(), abs=1e-6)
    assert mass.item() == pytest.approx(0.7 * 8, abs=0.05)  # alpha (4 - -4), tails of T = 1
    peak = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    soft(peak, 1.0, 1.0, temperature, BINARY).backward()
    assert peak.grad.item() == pytest.approx(temperature * 2 / 4)  # alpha = beta = 1, s = 2


@pytest.mark.parametrize("bits", range(1, 9))
def test_qn7_the_start_of_weights(bits: int) -> None:
    """QN7: scales and thresholds from the weight."""
    w = gaussian() * 0.1
    made = started(bits, "weight", w)
    highest, largest = made.level_values[-1].item(), w.abs().max().item()
    assert made.beta.item() == pytest.approx(1.25 * highest / largest, rel=1e-6)
    assert (made.alpha * made.beta).item() == pytest.approx(1, abs=1e-6)
    assert (made.beta * w).abs().max().item() == pytest.approx(1.25 * highest, rel=1e-6)
    assert made.deployed(w).abs().max().item() == pytest.approx(0.8 * largest, rel=1e-6)
    assert len(made.thresholds) == made.levels - 1
    assert (made.thresholds.diff() > 0).all()
    inner = made.thresholds[made.thresholds.abs() < 0.051].tolist()
    assert inner == pytest.approx([0.0] if bits == 1 else [-0.05, 0.05])


@pytest.mark.parametrize("kind", ["one-sided", "constant", "zero", "few", "one outlier"])
@pytest.mark.parametrize("target", ["weight", "activation"])
def test_thresholds_rise_for_every_tensor(kind: str, target: str) -> None:
    x = {
        "one-sided": gaussian(500).abs() + 1,
        "constant": torch.full((50,), 0.3),
        "zero": torch.zeros(50),
        "few": torch.tensor([0.5, -0.25]),
        "one outlier": torch.cat([gaussian(500), torch.tensor([1e4])]),
    }[kind]
    for bits in (2, 3, 8):
        assert (started(bits, target, x).thresholds.diff() > 0).all()


def test_qn8_thresholds_lie_between_the_clusters() -> None:
    """QN8: tight clusters, and Lloyd and Max's thresholds of Gaussian values."""
    cloud = 0.02 * gaussian(300)
    x = torch.cat([cloud - 1, cloud, cloud + 1])
    x = torch.cat([x, -x])
    assert start_thresholds(3 * x, 2, "activation").tolist() == pytest.approx([-1.5, 1.5], rel=0.01)
    big = gaussian(60_000)
    three = start_thresholds(big, 2, "activation").tolist()
    assert three == pytest.approx([-0.612, 0.612], abs=0.015)  # twice the sampling error of 60,000
    seven = start_thresholds(big, 6, "activation").tolist()
    optimum = [-1.611, -0.874, -0.280, 0.280, 0.874, 1.611]  # Max 1960
    assert seven == pytest.approx(optimum, abs=0.06)


def test_start_thresholds_of_large_tensors_are_the_same_each_time() -> None:
    x = gaussian(100_000)
    assert torch.equal(start_thresholds(x, 15, "activation"), start_thresholds(x, 15, "activation"))


def test_qn9_the_temperature_is_linear_in_the_epoch() -> None:
    """QN9: rate (epoch + 1), whatever the batch size, at most 2000; the deployed value stays."""
    w = gaussian(500)
    made = started(3, "weight", w, temperature_rate=40.0)
    deployed = made.deployed(w)
    for epoch in (0, 1, 20):
        for steps in (10, 20):
            made.set_progress(at(epoch, steps_per_epoch=steps))
            assert made.temperature.item() == 40 * (epoch + 1)
        inside = Progress(epoch * 10 + 9, 550, epoch, 55, 0.1)
        made.set_progress(inside)
        assert made.temperature.item() == 40 * (epoch + 1)
        assert torch.equal(made.deployed(w), deployed)
    made.set_progress(at(99, epochs=100))
    assert made.temperature.item() == 2000
    made.set_progress(at(20, epochs=20))  # training has ended: still that of its last epoch
    assert made.temperature.item() == 40 * 20


def test_qn10_the_deployed_network() -> None:
    """QN10: few values a layer, float ends and latents untouched, thresholds frozen."""
    model, images, labels = network(3, 32, gradient_scale=False)
    layers = quantized_layers(model)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    engine = engine_for(model)
    for step in range(2):
        engine.step((images, labels), Progress(step, 100, 0, 10, 0.01))
    after = {name: part.clone() for name, part in model.state_dict().items()}
    tensors = freeze(model)
    assert "conv1.weight" in tensors  # first and last stay float
    assert "fc.weight" in tensors
    for name, layer in layers.items():
        assert layer.weight_quantizer.deployed(layer.weight).unique().numel() <= 7  # 3(+-4)
        assert torch.equal(layer.weight, after[f"{name}.weight"])
        own = f"{name}.weight_quantizer."
        assert torch.equal(before[own + "thresholds"], after[own + "thresholds"])
        assert not torch.equal(before[own + "beta"], after[own + "beta"])
    alphas = [name for name in before if name.endswith("weight_quantizer.alpha")]
    # Of some layers: batch norm cancels alpha, so that its gradient is no more than rounding.
    assert any(not torch.equal(before[name], after[name]) for name in alphas)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_qn11_activations(bits: int) -> None:
    """QN11: no offset, the levels 0 to 2^k - 1, and a small value above 0 at 0."""
    x = gaussian().relu()
    made = started(bits, "activation", x)
    alpha, count = made.alpha.item(), 2**bits - 1
    expected = made.alpha.detach() * torch.arange(count + 1)
    assert torch.equal(made.deployed(x).unique(), expected)
    zero = made(torch.zeros(1)).item()
    sigmoids = torch.sigmoid(-made.temperature * made.thresholds)
    assert zero == pytest.approx(alpha * sigmoids.sum().item(), rel=1e-4)
    assert 0 < zero <= alpha * count * sigmoids[0].item() * (1 + 1e-6)  # equal where count is 1


def test_qn12_huge_temperatures_are_stable_in_float32() -> None:
    """QN12: T = 1e6, |x| up to 1000; the naive exponential fails where this does not."""
    for bits, target in ((1, "weight"), (3, "weight"), (8, "weight"), (4, "activation")):
        made = started(bits, target, gaussian(500))
        made.set_progress(at(54))
        made.temperature.fill_(1e6)
        x = torch.linspace(-1e3, 1e3, 4001, requires_grad=True)
        y = made(x)
        y.square().sum().backward()
        for part in (y, x.grad, made.alpha.grad, made.beta.grad):
            assert torch.isfinite(part).all()
    u = torch.tensor([-1.0], requires_grad=True)
    naive = 1 / (1 + torch.exp(-1e6 * u))
    naive.backward()
    assert not torch.isfinite(u.grad).all()


def test_qn13_the_loss_falls_at_a_fixed_temperature() -> None:
    """QN13: a small network, T = 5 throughout."""
    model, images, labels = network(1, 32)
    engine = engine_for(model)
    losses = [engine.step((images, labels), at(0))[0].item() for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("bits", "soft_gap", "hard_gap"), [(1, 0.64, 0.095), (3, 0.20, 0.031)])
def test_qn13_the_gap_to_the_deployed_weight_closes(
    bits: int, soft_gap: float, hard_gap: float
) -> None:
    """QN13: rms of soft minus hard over rms of hard, at T = 5 and 275, as measured there."""
    w = gaussian(300_000)
    made = started(bits, "weight", w)
    gaps = []
    for temperature in (5.0, 275.0):
        made.temperature.fill_(temperature)
        with torch.no_grad():
            gaps.append(((made(w) - made.deployed(w)).norm() / made.deployed(w).norm()).item())
    assert gaps == pytest.approx([soft_gap, hard_gap], rel=0.1)  # largest value, k-means: samples
    assert gaps[0] / gaps[1] >= 5


def test_the_released_rule_is_a_derivative_at_temperature_1_times_t() -> None:
    x = torch.linspace(-1.25, 1.25, 11, dtype=torch.float64, requires_grad=True)
    made = QuantizationNetworks(bit_width=1, target="weight", backward="released").double()
    made.temperature.fill_(20.0)
    value = made(x)
    value.sum().backward()
    g = torch.sigmoid(x.detach())
    assert torch.allclose(x.grad, 20 * 2 * g * (1 - g))  # alpha = beta = 1, s = 2
    assert x.grad[5].item() == pytest.approx(20 / 2)  # T / 2 at 0, 0.35 T at 1.25
    assert x.grad[-1].item() == pytest.approx(0.35 * 20, abs=0.005 * 20)  # two digits
    assert torch.allclose(value, torch.tanh(10 * x))  # the forward is the same
    other = QuantizationNetworks(bit_width=2, target="weight", backward="released")
    assert not other.unit_slope


def test_a_value_at_a_threshold_goes_up() -> None:
    one = QuantizationNetworks(bit_width=1, target="weight")
    assert one.deployed(torch.tensor([0.0, -0.0])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("bits", "options", "levels"),
    [
        (1, {}, [-1, 1]),
        (2, {}, [-1, 0, 1]),
        (3, {}, [-4, -2, -1, 0, 1, 2, 4]),
        (3, {"level_set": "plus_minus_2"}, [-2, -1, 0, 1, 2]),
        (3, {"level_set": "uniform"}, [-3, -2, -1, 0, 1, 2, 3]),
        (5, {}, list(range(-15, 16))),
    ],
)
def test_the_level_sets_of_weights(bits: int, options: dict, levels: list[int]) -> None:
    made = QuantizationNetworks(bit_width=bits, target="weight", **options)
    assert made.codes(torch.zeros(1))[1].tolist() == levels
    assert made.levels == len(levels)


@pytest.mark.parametrize(("bits", "target"), [(4, "activation"), (5, "weight"), (8, "activation")])
@pytest.mark.parametrize("temperature", [2.0, 5.0, 10.0, 50.0])
def test_the_nearest_thresholds_are_enough(bits: int, target: str, temperature: float) -> None:
    x = gaussian(50_000).abs() if target == "activation" else gaussian(50_000)
    b = started(bits, target, x).thresholds.double()
    grid = torch.linspace(b[0].item() - 2, b[-1].item() + 2, 30_001, dtype=torch.float64)
    levels = {"thresholds": b, "steps": (1.0,) * len(b), "lowest": 0.0}
    whole = soft(grid, 1.0, 1.0, temperature, levels)
    for nearest in (2, 4, 8):
        error = (soft(grid, 1.0, 1.0, temperature, levels | {"nearest": nearest}) - whole).abs()
        rounding = 1e-12 * len(b)
        assert error.max().item() <= neglected(temperature, b, nearest) + rounding
    chosen = nearest_needed(temperature, tuple(b.tolist()))
    if chosen is not None and chosen < 16:  # 16 is the cap, whatever the error
        error = (soft(grid, 1.0, 1.0, temperature, levels | {"nearest": chosen}) - whole).abs()
        assert error.max().item() <= 1e-3  # a thousandth of a step


def test_gradients_through_the_nearest_thresholds_are_those_of_all() -> None:
    x = gaussian(4000).abs().double().view(10, 4, 10, 10)
    b = started(4, "activation", x.float()).thresholds.double()
    levels = {"thresholds": b, "steps": (1.0,) * 15, "lowest": 0.0}
    beta = 1.25 * 15 / x.max().item()
    for layout in (x, x.to(memory_format=torch.channels_last)):
        grads = []
        for nearest in (None, 8):
            parts = [
                layout.clone().requires_grad_(),
                number(1 / beta).requires_grad_(),
                number(beta).requires_grad_(),
            ]
            y = soft_steps(*parts, temperature=number(20.0), **levels, nearest=nearest)
            assert y.stride() == layout.stride()
            (y * x.cos()).sum().backward()
            grads.append([part.grad for part in parts])
        for near, every in zip(grads[1], grads[0], strict=True):
            # eight of spacing 0.5 at T = 20: the first left out is off by exp(-40)
            assert torch.allclose(near, every, rtol=1e-9, atol=1e-9)


def test_the_cost_is_bounded_at_eight_bits() -> None:
    made = started(8, "activation", gaussian().relu())
    assert made.nearest is None  # nothing is left out before the temperature is known
    for epoch in range(0, 55, 9):
        made.set_progress(at(epoch))
        assert made.nearest is not None
        assert made.nearest <= 16  # of 255


def test_values_that_are_no_numbers_are_passed_on_and_index_nothing() -> None:
    made = started(8, "activation", gaussian().relu())
    made.set_progress(at(5))
    y = made(torch.tensor([math.nan, math.inf, -math.inf]))
    assert torch.isnan(y[0])
    assert y[1].item() == pytest.approx(255 * made.alpha.item())
    assert y[2].item() == pytest.approx(0, abs=1e-6)


def test_scale_gradients_are_divided_by_the_root_of_elements_and_steps() -> None:
    x = gaussian(240).relu().view(4, 60)
    found = []
    for scaled in (False, True):
        made = started(2, "activation", x, gradient_scale=scaled)
        made(x).square().sum().backward()
        found.append(torch.stack([made.alpha.grad, made.beta.grad]))
    assert torch.allclose(found[1], found[0] * (60 * 3) ** -0.5)  # 60 features, 3 steps


def of_targets(model: nn.Module) -> list[QuantLayer]:
    return list(quantized_layers(model).values())


def test_phases_train_weights_then_activations_then_both() -> None:
    model, images, labels = network(2, 2, phases=True, temperature_rate=5.0)
    engine, layers = engine_for(model), of_targets(model)

    def moved(epoch: int) -> tuple[bool, bool]:
        before = [
            (layer.weight.clone(), layer.activation_quantizer.beta.clone()) for layer in layers
        ]
        engine.step((images, labels), at(epoch, epochs=10))
        return (
            any(
                not torch.equal(w, layer.weight)
                for (w, _), layer in zip(before, layers, strict=True)
            ),
            any(
                not torch.equal(b, layer.activation_quantizer.beta)
                for (_, b), layer in zip(before, layers, strict=True)
            ),
        )

    assert moved(0) == (True, False)
    assert layers[0].activation_quantizer(images) is images  # phase 1: as it is
    assert moved(3) == (True, False)
    assert layers[0].weight_quantizer.temperature.item() == 5 * 4
    for epoch in (4, 6):  # 0.4 of 10 epochs, 0.3 more
        assert moved(epoch) == (False, True)  # momentum and decay stand still too
        assert layers[0].weight_quantizer.temperature.item() == 5 * 4
    assert layers[0].activation_quantizer.temperature.item() == 5 * 3
    assert moved(7) == (True, True)
    assert layers[0].weight_quantizer.temperature.item() == 5 * 5
    assert layers[0].activation_quantizer.temperature.item() == 5 * 4


def test_short_trainings_end_in_the_third_phase() -> None:
    model, _, _ = network(2, 2, phases=True)
    for epochs in (1, 2, 3, 10):
        for layer in of_targets(model):
            for quantizer in (layer.weight_quantizer, layer.activation_quantizer):
                quantizer.set_progress(at(epochs, epochs=epochs))
                assert quantizer.phase == 3


def test_weights_alone_have_no_phases() -> None:
    model, images, labels = network(2, 32, phases=True)
    layer = of_targets(model)[0]
    before = layer.weight.clone()
    engine_for(model).step((images, labels), at(5, epochs=10))  # would stand still in phase 2
    assert not torch.equal(before, layer.weight)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature_rate": 0.0},
        {"phases": True, "first_phase": 0.7, "second_phase": 0.3},
        {"phases": True, "first_phase": -0.1},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="must be"):
        QuantizationNetworks(bit_width=2, target="weight", **options)
