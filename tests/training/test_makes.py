"""Captured = compiled = eager: the makes of a step train the same network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cpu_graph import record_on_cpu
from short_run import marks
from torch import Tensor, nn

from qbench.datasets.augmentation import normalise
from qbench.models.build import build_model
from qbench.models.convert import initialize
from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress
from qbench.quantizers.ste import STE
from qbench.registry import quantizers
from qbench.study.schema import Bits, Component, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.captured import CapturedEngine
from qbench.training.choose_engine import choose_engine
from qbench.training.compiled import CompiledEngine
from qbench.training.engine import Engine, Inputs, Outcome
from qbench.training.optimizers import (
    make_optimizers,
    rate_factor,
    rates_on_device,
    set_learning_rates,
)
from qbench.training.setup import quantized

STEPS, EPOCHS = 50, 5
METHODS = [
    name
    for name, entry in quantizers.entries().items()
    if entry.module.startswith("qbench.") and entry.facts["bits"]  # a family has none
]
WAYS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS),
    ("metaquant", {"meta": "lstmfc", "hidden": 4}),
    ("metaquant", {"meta": "multifc", "order": "released", "refinement": "adam"}),
    ("quantization_networks", {"phases": True}),
    ("quantnet", {"mix": "chunk"}),
]
"""Methods, and options with which they take another way through their code."""
PIXELS = torch.randint(0, 256, (64, 1, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
LABELS = torch.randint(0, 10, (64,), generator=torch.Generator().manual_seed(2))
SCALE, SHIFT = torch.full((1, 1, 1, 1), 1 / 64), torch.full((1, 1, 1, 1), -2.0)


def fetch(chosen: Tensor) -> tuple[Tensor, Tensor]:
    return normalise(PIXELS.index_select(0, chosen), SCALE, SHIFT), LABELS.index_select(0, chosen)


class Captured(CapturedEngine):
    record = staticmethod(record_on_cpu)


def train(
    name: str, make: Callable[..., Engine], options: dict[str, Any] | None = None
) -> tuple[list[float], nn.Module, Engine]:
    torch.manual_seed(0)
    can = quantizers.entry(name).facts["bits"]
    weight = min(can["weight"]) if name != "float" else 32
    bits = Bits(weight=weight, activation=2 if 2 in can.get("activation", ()) else 32)
    trial = Trial(
        quantizer=Component(name=name, options=options or {}),
        model=Component(name="mlp", options={"width": 32, "depth": 3}),
        data=TrialData(name="random"), bits=bits, seed=0,
    )  # fmt: skip
    model = quantized(build_model(trial.model, channels=1, classes=10, size=8), trial)
    initialize(model, fetch(torch.arange(16))[0])
    training = Training(epochs=EPOCHS, clip_gradient=5.0)
    optimizers = make_optimizers(model, training, fused=True)
    engine, losses = make(model.train(), optimizers, training, fetch), []
    for step in range(STEPS):
        epoch = step * EPOCHS // STEPS
        set_learning_rates(
            optimizers, rate_factor(training.schedule, step * EPOCHS / STEPS, EPOCHS)
        )
        progress = Progress(step, STEPS, epoch, EPOCHS, learning_rate=0.1)
        chosen = (torch.arange(16) + 16 * step) % 64
        losses.append(engine.step((chosen,), progress)[0].item())
    engine.set_progress(Progress.end())
    return losses, model, engine


def codes(model: nn.Module) -> Tensor:
    """All codes of a model's weights, end to end."""
    found = [
        layer.weight_quantizer.codes(layer.weight)[0].flatten()
        for layer in quantized_layers(model).values()
        if layer.weight_quantizer is not None
    ]
    return torch.cat(found) if found else torch.zeros(1)


def codes_that_differ(first: nn.Module, second: nn.Module) -> float:
    return (codes(first) != codes(second)).double().mean().item()


class RatesInTensors(Engine):
    """Eager, with learning rates rounded to float32 as in a recording."""

    def step(self, inputs: Inputs, progress: Progress) -> Outcome:
        rates_on_device(self.optimizers, inputs[0].device)
        return super().step(inputs, progress)


@pytest.mark.parametrize(
    ("name", "options"), [pytest.param(*way, marks=marks(way[0])) for way in WAYS]
)
def test_a_recorded_step_trains_the_same_network_bit_for_bit(
    name: str, options: dict[str, Any]
) -> None:
    losses, model, _ = train(name, RatesInTensors, options)
    again, other, engine = train(name, Captured, options)
    assert engine.name == "captured"
    assert again == losses
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


class AsksTheHost(STE):
    """Reads a value in every step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if x.sum().item() < 1e9 else 0.0)


class KeepsANewTensor(STE):
    """A running mean that is another tensor after each step: a recording goes on from the first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + x.detach().abs().mean()
        return super().forward(x) * (1 + 0.1 * self.mean)


class CountsOnTheHost(STE):
    """A scale that Python counts up."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + 0.1 * self.calls)


@pytest.mark.parametrize("kind", [AsksTheHost, KeepsANewTensor, CountsOnTheHost])
def test_what_cannot_be_recorded_goes_on_step_by_step_and_says_so(
    kind: type[STE], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizers, "load", lambda name: kind)
    losses, _, _ = train("ste", RatesInTensors)
    again, _, engine = train("ste", Captured)
    assert engine.name.startswith("eager, since the step cannot be captured: ")
    if kind is not CountsOnTheHost:  # what a trial counts is no part of what is put back
        assert again == losses


def test_a_recording_is_made_anew_where_the_way_through_the_code_changes() -> None:
    made = 0

    class Counting(CapturedEngine):
        @staticmethod
        def record(compute: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
            nonlocal made
            made += 1
            return record_on_cpu(compute)

    options = {"phases": True}  # float, then weights, then all: three ways
    train("quantization_networks", Counting, options)
    assert made > 1


class Nudged(Engine):
    """Eager, with weights rounded otherwise in each step: as far off as another order of sums."""

    nudge = 0

    def step(self, inputs: Inputs, progress: Progress) -> Outcome:
        random = torch.Generator().manual_seed(STEPS * self.nudge + progress.step)
        with torch.no_grad():
            for parameter in self.model.parameters():
                noise = torch.randn(parameter.shape, generator=random)
                parameter.mul_(1 + torch.finfo(torch.float32).eps / 2 * noise)
        return super().step(inputs, progress)


def deviations(losses: list[float], others: list[float]) -> Tensor:
    """The relative difference of the losses so far, the largest of each step and those before."""
    first, second = torch.tensor(losses), torch.tensor(others)
    return ((first - second).abs() / first.abs()).cummax(0).values


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_compiled_step_is_no_further_off_than_another_rounding(name: str) -> None:
    losses, model, _ = train(name, Engine)
    again, other, engine = train(name, CompiledEngine)
    assert engine.name == "compiled"
    assert again[0] == pytest.approx(losses[0], rel=1e-6)
    off, codes_off = torch.zeros(STEPS), 0.0
    for nudge in range(50):  # a value beside a ReLU's kink is on its other side in few of them
        nudged, third, _ = train(name, type("Nudged", (Nudged,), {"nudge": nudge}))
        off = torch.maximum(off, deviations(losses, nudged))
        codes_off = max(codes_off, codes_that_differ(model, third))
        losses_near = bool((deviations(losses, again) <= 3 * off + 1e-5).all())
        if losses_near and codes_that_differ(model, other) <= 2 * codes_off + 0.001:
            return
    pytest.fail("further off than any other rounding")


class Scaled(nn.Module):
    """A network of which each factor is another kind for the compiler."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(8, 10), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.layer(x.mean((1, 2)))


def compile_steps(*factors: int) -> int:
    """Train a step of each; the number of graphs that were compiled for them."""
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    for factor in factors:
        model = Scaled(factor)
        training = Training(epochs=1)
        engine = CompiledEngine(model, make_optimizers(model, training), training, fetch)
        engine.step((torch.arange(8),), Progress.end())
    return int(graphs["unique_graphs"] - before)


@pytest.mark.slow
def test_a_worker_compiles_every_kind_once_and_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    assert compile_steps(*range(2, 12)) == 10  # torch's own limit is 8: the others would be eager
    assert compile_steps(*range(2, 12)) == 0
    monkeypatch.setattr("qbench.training.compiled.KINDS", 10)
    with pytest.raises(Exception, match="recompile_limit"):
        compile_steps(12)


@pytest.mark.parametrize(
    ("wanted", "device", "name"),
    [
        ("eager", "cuda", "eager"),
        ("auto", "cpu", "eager"),
        ("auto", "cuda:1", "captured"),
        ("captured", "cpu", "eager"),
        ("compiled", "cpu", "compiled"),
    ],
)
def test_the_engine_is_chosen_by_device(wanted: str, device: str, name: str) -> None:
    assert choose_engine(wanted, device) == name
