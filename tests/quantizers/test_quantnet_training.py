"""QuantNet-R: tests Q10 and Q12 of its specification, on a small trained network."""

import pytest
import torch
from torch import Tensor, nn

from qbench.models.convert import initialize, quantize
from qbench.models.layers import QuantLayer, quantized_layers, set_mode
from qbench.quantizers.contract import Progress
from qbench.quantizers.quantnet import QuantNet
from qbench.study.schema import Optimizer, Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers, rate_factor, set_learning_rates

WIDTH, CLASSES, STEPS = 32, 10, 400
RECIPE = Training(epochs=1, optimizer=Optimizer(learning_rate=0.02))


def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy copies of ten centers; a float network gets about eight in ten right."""
    centers = torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return centers[labels] + 1.5 * torch.randn(count, 16, generator=generator), labels


def trained(**options: object) -> nn.Module:
    """An MLP with two quantized layers after the default schedules, by the engine itself."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for inputs, outputs in ((16, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH)):
        parts += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    network = nn.Sequential(*parts, nn.Linear(WIDTH, CLASSES))
    quantize(
        network, weights=lambda: QuantNet(bit_width=1, target="weight", **options),
        activations=None, keep_float=["first", "last"],
    )  # fmt: skip
    x, y = images(4000, seed=1)
    initialize(network, x[:64])
    optimizers = make_optimizers(network, RECIPE)
    engine = Engine(network, optimizers, RECIPE)
    for step in range(STEPS):
        factor = rate_factor(RECIPE.schedule, step / STEPS, 1)
        set_learning_rates(optimizers, factor)
        pick = torch.randint(0, len(x), (64,))
        engine.step((x[pick], y[pick]), Progress(step, STEPS, 0, 1, 0.02 * factor))
    engine.set_progress(Progress.end())
    return network.eval()


@pytest.fixture(scope="module")
def default() -> nn.Module:
    return trained()


@torch.no_grad()
def accuracies(network: nn.Module) -> tuple[float, float]:
    x, y = images(4000, seed=2)
    found = []
    for mode in ("training", "deployed"):
        set_mode(network, mode)
        found.append(float((network(x).argmax(1) == y).float().mean()))
    return found[0], found[1]


@torch.no_grad()
def levels(layer: QuantLayer) -> tuple[Tensor, Tensor]:
    """Soft and hard levels, in [-1, 1]."""
    quantizer = layer.weight_quantizer
    soft = quantizer(layer.weight) / quantizer.alpha.unsqueeze(1)
    return soft, quantizer.codes(layer.weight)[0] * 2.0 - 1


def unsettled(network: nn.Module) -> float:
    """The share of soft values further than 0.1 from their level."""
    soft = torch.cat([levels(layer)[0].flatten() for layer in quantized_layers(network).values()])
    return float((soft.abs() < 0.9).float().mean())


def test_q10_the_gap_of_a_layer_has_its_bound(default: nn.Module) -> None:
    for layer in quantized_layers(default).values():
        soft, hard = levels(layer)
        x = images(64, seed=3)[0].repeat(1, WIDTH // 16)
        with torch.no_grad():
            layer.mode = "training"
            y_soft = layer(x)
            layer.mode = "deployed"
            gap = (y_soft - layer(x)).abs()
        distance = (soft - hard).abs().max()
        bound = layer.weight_quantizer.alpha.abs() * x.abs().sum(1, keepdim=True) * distance
        assert bool((gap <= bound * (1 + 1e-5) + 1e-6).all())  # float32 sums of 32 products


def test_q10_the_default_schedule_closes_the_gap(default: nn.Module) -> None:
    assert unsettled(default) < 0.02
    soft, deployed = accuracies(default)
    assert deployed > 0.5  # it learned: chance is 0.1
    assert abs(soft - deployed) <= 0.005


@pytest.mark.slow
def test_q10_without_penalty_and_cooling_the_gap_stays_open(default: nn.Module) -> None:
    loose = trained(polarisation=0.0, tau_end=1.0)
    assert unsettled(loose) > 0.5
    soft, deployed = accuracies(loose)
    reference = accuracies(default)
    assert soft - deployed > 0.01 + abs(reference[0] - reference[1])  # 0.021 was measured


@pytest.mark.slow
def test_q12_what_is_deployed_is_not_the_sign_of_the_weight() -> None:
    network = trained(skip=False, gain=1.0)
    x, _ = images(64, seed=3)
    for layer in quantized_layers(network).values():
        quantizer = layer.weight_quantizer
        codes, codebook = quantizer.codes(layer.weight)
        assert float((codes != (layer.weight >= 0)).float().mean()) > 0.01
        layer.mode = "deployed"
        inputs = x.repeat(1, WIDTH // 16)
        by_codes = inputs @ codebook.gather(1, codes).T
        assert torch.allclose(layer(inputs), by_codes, atol=1e-5)  # float32 sums of 32 products
