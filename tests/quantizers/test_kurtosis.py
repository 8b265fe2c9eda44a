"""The kurtosis regulariser: Rozen et al. 2022, and that all else is the host's."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress, Quantizer
from qbench.quantizers.hosted import BINARY_HOSTS
from qbench.quantizers.kurtosis import Kurtosis, kurtosis
from qbench.registry import quantizers
from qbench.study.schema import Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers

HALFWAY = Progress(50, 100, 5, 10, learning_rate=0.1)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a1_known_distributions() -> None:
    assert kurtosis(normal(100_000)).item() == pytest.approx(3, abs=0.08)  # 5 sqrt(24 / 100,000)
    assert kurtosis(torch.linspace(-1, 1, 10_001)).item() == pytest.approx(1.8, abs=1e-3)
    assert kurtosis(torch.tensor([1.0, -1.0] * 50)).item() == 1


def test_a1_scale_and_offset_change_nothing() -> None:
    weight = normal(1000, dtype=torch.float64)
    for factor, offset in ((1e-6, 0), (30, -4), (-2, 0.5)):
        assert torch.allclose(kurtosis(factor * weight + offset), kurtosis(weight))


def test_a1_the_gradient_is_that_of_the_definition() -> None:
    weight = normal(7, 5, dtype=torch.float64)
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    kurtosis(ours).backward()
    score = (theirs - theirs.mean()) / theirs.std(correction=0)
    score.pow(4).mean().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, 0.3, 1e-12])
def test_constant_weights_have_a_finite_penalty(fill: float) -> None:
    weight = torch.full((4, 9), fill, requires_grad=True)
    quantizer = made("ste")
    quantizer.penalty(weight).backward()
    assert bool(weight.grad.isfinite().all())


def made(host: str, **options: Any) -> Kurtosis:
    quantizer = Kurtosis(bit_width=1, target="weight", host=host, **options)
    quantizer.set_progress(HALFWAY)
    return quantizer


def test_a1_descent_on_the_penalty_alone_reaches_the_level() -> None:
    weight, quantizer = nn.Parameter(normal(500)), made("bireal")
    optimizer = torch.optim.SGD([weight], lr=5.0)  # the slope of a mean over 500 weights is small
    for _ in range(500):
        optimizer.zero_grad()
        quantizer.penalty(weight).backward()
        optimizer.step()
    assert kurtosis(weight).item() == pytest.approx(1.8, abs=0.01)


def test_a1_the_penalty_is_the_mean_over_layers() -> None:
    three = [Kurtosis(bit_width=1, target="weight", strength=6.0) for _ in range(3)]
    Kurtosis.connect(three)
    weight = normal(4, 9)
    for quantizer in three:
        quantizer.set_progress(HALFWAY)
        expected = 6 / 3 * (kurtosis(weight) - 1.8).square()
        assert torch.allclose(quantizer.penalty(weight), expected)


@pytest.mark.parametrize(("begin", "on"), [(0.5, True), (0.51, False)])
def test_a1_the_penalty_begins_when_it_is_told_to(begin: float, on: bool) -> None:
    assert (made("ste", begin=begin).penalty(normal(4, 9)).item() > 0) is on


def trained(make: Any, steps: int = 8) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Hardtanh(), nn.Linear(16, 16), nn.BatchNorm1d(16),
        nn.Hardtanh(), nn.Linear(16, 3),
    )  # fmt: skip
    quantize(model, weights=make, activations=None, keep_float=("first", "last"))
    images, labels = torch.randn(32, 6), torch.randint(0, 3, (32,))
    initialize(model, images)
    engine = Engine(model.train(), make_optimizers(model, Training()), Training())
    for step in range(steps):
        engine.step(
            (images, labels), Progress(step, steps, 4 * step // steps, 4, learning_rate=0.1)
        )
    return model


@pytest.mark.parametrize("host", BINARY_HOSTS)
def test_a1_without_strength_it_is_the_host_bit_for_bit(host: str) -> None:
    alone = trained(lambda: BINARY_HOSTS[host](bit_width=1, target="weight"))
    hosted = trained(lambda: Kurtosis(bit_width=1, target="weight", host=host, strength=0.0))
    state = {key.replace(".host.", "."): value for key, value in hosted.state_dict().items()}
    assert state.keys() == alone.state_dict().keys()
    for key, value in alone.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize("host", BINARY_HOSTS)
def test_a1_with_strength_the_latent_weights_follow_it(host: str) -> None:
    """Of each host, so that none of those named is one that does not see the loss."""
    alone = trained(lambda: Kurtosis(bit_width=1, target="weight", host=host, strength=0.0), 40)
    pulled = trained(lambda: Kurtosis(bit_width=1, target="weight", host=host, strength=3.0), 40)
    latent = [quantized_layers(model)["3"].weight.detach() for model in (alone, pulled)]
    distances = [(kurtosis(weight) - 1.8).abs().item() for weight in latent]
    assert distances[1] < distances[0]


@pytest.mark.parametrize("host", BINARY_HOSTS)
def test_a1_hosts_are_what_the_option_names_and_the_registry_has(host: str) -> None:
    named, _ = quantizers.entry("kurtosis").options["host"]
    assert set(get_args(named)) == set(BINARY_HOSTS)
    kind: type[Quantizer] = quantizers.load(host)
    assert kind is BINARY_HOSTS[host]
    assert 1 in kind.bits["weight"]
    assert not kind.owns_update
    assert not kind.stochastic  # else the instance would have to say so
