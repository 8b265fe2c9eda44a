"""G2: thresholds read off codes, the noise of a share, and the table of the specification."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.calibration import sigma_for_share
from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.jacobian_alignment import alignment
from qbench.diagnostics.measure import Chosen, Measured, measure
from qbench.diagnostics.probe import LayerGradients, Probe, latent_gradient
from qbench.diagnostics.staircase import Staircase, find_staircase
from qbench.models.convert import initialize, quantize
from qbench.quantizers.daq import DAQ
from qbench.quantizers.ste import STE
from qbench.registry import quantizers

SHARES = (0.01, 0.05, 0.1, 0.2)
STEP = 4 / 3  # of the table's 2-bit grid: four levels from -2 to 2 standard deviations

Slope = Callable[[Tensor], Tensor]


def normal(count: int = 20_000) -> Tensor:
    """Quantiles of N(0, 1), as one output channel."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.special.ndtri(places)[None].float()


def uniform(weight: Tensor) -> tuple[Tensor, Tensor]:
    codes = (weight / STEP + 2).floor().clamp(0, 3).long()
    return codes, (torch.arange(4) - 1.5) * STEP


def signs(weight: Tensor) -> tuple[Tensor, Tensor]:
    return (weight >= 0).long(), torch.tensor([-1.0, 1.0])


def sigmoids(temperature: float) -> Slope:
    def slope(x: Tensor) -> Tensor:
        soft = [torch.sigmoid(temperature * (x / STEP - t)) for t in (-1, 0, 1)]
        return sum((s * (1 - s) for s in soft), torch.zeros_like(x))

    return slope


def tanh_pieces(k: float) -> Slope:
    def slope(x: Tensor) -> Tensor:  # of DSQ: each interval between levels has its own tanh
        inside = (x / STEP).abs() <= 1.5
        return inside * (1 - (k * ((x / STEP + 1.5).frac() - 0.5)).tanh().square())

    return slope


def power(x: Tensor) -> Tensor:
    """ReSTE, o = 3: abs(x)^(1/3), its slope constant below 0.1 and 0 beyond 1.5."""
    slope = torch.where(x.abs() < 0.1, 0.1 ** (1 / 3) / 0.1, x.abs().pow(-2 / 3) / 3)
    return slope * (x.abs() <= 1.5)


def rule(quantizer: nn.Module) -> Slope:
    """The backward of a quantizer at incoming gradients of 1."""

    def slope(x: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(quantizer(leaf).sum(), leaf)[0]

    return slope


def daq(bits: int, reach: float = 3.0) -> Slope:
    quantizer = DAQ(bit_width=bits, target="weight", gamma=2.0, weight_sigma=1.0)
    quantizer.upper.data.fill_(reach)
    quantizer.lower.data.fill_(-reach)
    return rule(quantizer)


ONE_BIT: list[tuple[str, Slope, tuple[float, ...]]] = [
    ("STE identity", rule(STE(bit_width=1, target="weight")), (0.211, 0.469, 0.653, 0.870)),
    (
        "STE clipped at 1 sd",
        rule(STE(bit_width=1, target="weight", weight_backward="clipped")),
        (0.255, 0.568, 0.789, 0.959),
    ),
    ("DAQ, 3 sd", daq(1), (0.247, 0.536, 0.724, 0.919)),
    ("ApproxSign", lambda x: (2 - 2 * x.abs()).clamp_min(0), (0.408, 0.815, 0.977, 0.954)),
    (
        "polynomial STE",  # the tent of the polynomial rule is ApproxSign's
        rule(STE(bit_width=1, target="weight", weight_backward="polynomial")),
        (0.408, 0.815, 0.977, 0.954),
    ),
    ("ReSTE o=3", power, (0.688, 0.917, 0.831, 0.723)),
    ("tanh beta=6", lambda x: 1 - (6 * x).tanh().square(), (0.686, 0.992, 0.854, 0.642)),
]
TWO_BITS: list[tuple[str, Slope, tuple[float, ...]]] = [
    ("STE in range", lambda x: 1.0 * (x.abs() <= 2), (0.216, 0.482, 0.679, 0.935)),
    ("DAQ", daq(2, 2.0), (0.279, 0.586, 0.775, 0.974)),
    ("sigmoids, T = 5 / step", sigmoids(5), (0.278, 0.608, 0.812, 0.989)),
    ("sigmoids, T = 20 / step", sigmoids(20), (0.578, 0.989, 0.951, 0.751)),
    ("tanh pieces, k = 4", tanh_pieces(4), (0.371, 0.781, 0.959, 0.975)),
    ("tanh pieces, k = 10", tanh_pieces(10), (0.578, 0.989, 0.951, 0.751)),
]


def row(steps: Staircase, slope: Slope, weight: Tensor) -> list[float]:
    """rho_J at the table's shares, gamma independent of theta."""
    gamma = torch.ones_like(weight)
    gradients = LayerGradients(weight, gamma, gamma * slope(weight))
    scales = [steps.sigma(share) for share in SHARES]
    return [float(alignment(gradients, steps.density(s))) for s in scales if s is not None]


@pytest.mark.parametrize(("name", "slope", "expected"), ONE_BIT, ids=[r[0] for r in ONE_BIT])
def test_table_of_one_bit(name: str, slope: Slope, expected: tuple[float, ...]) -> None:
    weight = normal()
    steps = find_staircase(signs, weight)
    assert steps is not None
    # 1e-3 of the table's rounding, and of a sample of quantiles
    assert row(steps, slope, weight) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(("name", "slope", "expected"), TWO_BITS, ids=[r[0] for r in TWO_BITS])
def test_table_of_two_bits(name: str, slope: Slope, expected: tuple[float, ...]) -> None:
    weight = normal()
    steps = find_staircase(uniform, weight)
    assert steps is not None
    # the table has its noise from draws: integrals differ from it by up to 0.003, at 10 %
    assert row(steps, slope, weight) == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize("share", SHARES)
def test_the_noise_of_signs_has_a_closed_form(share: float) -> None:  # T11
    steps = find_staircase(signs, normal())
    assert steps is not None
    sigma = steps.sigma(share)
    assert sigma is not None
    assert abs(math.atan(float(sigma)) / math.pi - share) < 3e-5  # a sample of quantiles


@pytest.mark.parametrize("name", ["lsq", "quantization_networks"])
def test_the_noise_of_a_share_is_that_of_drawn_noise(name: str) -> None:
    probe = probe_of(name)  # of methods that take no statistics from the tensor
    layer = probe.layers["0"]
    quantizer = layer.weight_quantizer
    steps = find_staircase(quantizer.codes, layer.weight)
    assert steps is not None
    drawn = sigma_for_share(
        lambda x: quantizer.codes(x)[0], layer.weight, 0.05, probe.random("test")
    )
    # 32 draws of 1296 weights change 2074 codes, +-2.2 %
    assert float(steps.sigma(0.05) / drawn) == pytest.approx(1, abs=3 * 0.022)


def test_a_share_that_no_noise_changes() -> None:
    steps = find_staircase(signs, normal())
    assert steps is not None
    assert steps.sigma(0.6) is None  # a sign changes half the time at most


def test_thresholds_are_read_off_the_codes() -> None:
    torch.manual_seed(1)
    weight = torch.randn(3, 40)
    steps = find_staircase(uniform, weight)
    assert steps is not None
    # each moves to 2^-12 of the distance between two of 120 values, at most 0.3 here
    assert steps.thresholds.tolist() == pytest.approx([-STEP, 0, STEP], abs=1e-4)
    assert steps.gaps.tolist() == pytest.approx([STEP] * 3)


def test_thresholds_of_channels() -> None:
    torch.manual_seed(2)
    weight = torch.randn(4, 400) * torch.tensor([[0.1], [1.0], [3.0], [0.5]])
    quantizer = STE(bit_width=2, target="weight")
    steps = find_staircase(quantizer.codes, weight)
    assert steps is not None
    step = quantizer.codes(weight)[1].diff(dim=-1)
    assert torch.allclose(steps.gaps, step.double())
    expected = torch.tensor([-1.0, 0.0, 1.0]) * step[:, :1]  # midway between its levels
    # moved latents also change the mean of 400 that the levels follow, by up to 1e-4 of it
    assert torch.allclose(steps.thresholds, expected.double(), atol=1e-3)


def test_levels_that_no_latent_has() -> None:
    weight = torch.tensor([[-1.9, -1.5, 1.5, 1.9]])  # nothing in the two inner cells
    steps = find_staircase(uniform, weight)
    assert steps is not None
    assert float(steps.density(torch.tensor(0.1)).isfinite().all())
    inner = find_staircase(uniform, torch.tensor([[-0.4, -0.2, 0.3, 0.5]]))
    assert inner is not None
    assert inner.thresholds[0] == -torch.inf
    assert inner.thresholds[2] == torch.inf
    assert abs(float(inner.thresholds[1])) < 1e-3
    density = inner.density(torch.tensor(0.2))
    bell = torch.exp(-0.5 * (inner.weight / 0.2) ** 2) / (0.2 * math.sqrt(2 * math.pi))
    assert torch.allclose(density, STEP * bell, rtol=1e-3)


def test_a_method_that_mixes_weights_has_no_staircase() -> None:
    probe = probe_of("quantnet")
    layer = probe.layers["0"]
    assert find_staircase(layer.weight_quantizer.codes, layer.weight) is None
    assert measured(probe) == Measured([], [], [])


class Neighbours(STE):
    """Element-wise codes, and a backward that gives each latent its neighbour's gradient."""

    def forward(self, x: Tensor) -> Tensor:
        turned = x.flatten().roll(1).view(x.shape)
        return self.deployed(x) + turned - turned.detach()


def test_a_backward_that_mixes_weights_has_no_alignment() -> None:
    probe = probe_of("ste")
    for layer in probe.layers.values():
        layer.weight_quantizer = Neighbours(bit_width=2, target="weight")
    assert measured(probe) == Measured([], [], [])


def test_elementwise_quantnet_is_measured() -> None:
    # its mean and deviation are part of the backward, but each is shared by 1296 weights
    assert measured(probe_of("quantnet", mix="elementwise")).network


def probe_of(name: str, **options: object) -> Probe:
    torch.manual_seed(4)
    kind = quantizers.load(name)
    model = nn.Sequential(
        nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)
    )
    quantize(
        model,
        weights=lambda: kind(bit_width=2, target="weight", **options),
        activations=None,
        keep_float=["last"],
    )
    images, labels = torch.randn(60, 3, 4, 4), torch.randint(0, 3, (60,))
    initialize(model, images)
    return Probe(model, images, labels, seed=2)


def measured(probe: Probe, **options: object) -> Measured:
    measurement = Measurement(
        probe=probe,
        epoch=0,
        layers=tuple(probe.layers),
        held_out=lambda: [],
        training=lambda: [],
    )
    return measure([Chosen("jacobian_alignment", options)], measurement)


@pytest.mark.parametrize("name", ["ste", "lsq", "dorefa", "daq"])
def test_the_curve_its_maximum_and_where_it_is(name: str) -> None:
    found = measured(probe_of(name), shares=SHARES)
    values = {r.name.removeprefix("gradient/jacobian_alignment_"): r.value for r in found.network}
    curve = [values[label] for label in ("1pct", "5pct", "10pct", "20pct")]
    assert values["max"] == max(curve)
    assert values["at"] == SHARES[curve.index(max(curve))]
    assert [(p.x, p.y) for p in found.points] == list(zip(SHARES, curve, strict=True))
    assert 0 < min(curve) <= max(curve) <= 1


def test_the_cosine_is_weighted_by_the_gradient_and_has_its_sign() -> None:
    probe = probe_of("ste")
    with probe.undisturbed():
        g = probe.gradients["0"]
        assert torch.equal(latent_gradient(probe.layers["0"], g.at_used), g.latent)
    density = torch.rand_like(g.latent).double()
    squares = g.at_used.double().square()
    expected = (squares * density).sum() / (squares.sum() * (squares * density**2).sum()).sqrt()
    assert torch.isclose(alignment(g, density), expected, rtol=1e-10)
    turned = LayerGradients(g.used, g.at_used, -g.latent)
    assert torch.isclose(alignment(turned, density), -expected, rtol=1e-10)
    scaled = LayerGradients(g.used, g.at_used, 10 * g.latent)
    assert torch.isclose(alignment(scaled, density), expected, rtol=1e-6)
    nothing = LayerGradients(g.used, g.at_used, 0 * g.latent)
    assert not alignment(nothing, density).isfinite()
