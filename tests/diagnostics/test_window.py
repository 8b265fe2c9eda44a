"""The window over the last steps of an epoch, against a plain reading of its definitions."""

import io

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.window import Window, seen
from qbench.models.convert import quantize
from qbench.quantizers.contract import Quantizer

LENGTH, STEPS = 12, 30


class Grid(Quantizer):
    """Four levels at multiples of a step that can be moved; the codebook runs downwards."""

    def __init__(self, *, bit_width: int, target: str) -> None:
        super().__init__(bit_width=bit_width, target=target)
        self.register_buffer("step", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.deployed(x)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        place = (x / self.step + 1.5).round().clamp(0, 3)
        return (3 - place).long(), (torch.arange(3, -1, -1) - 1.5) * self.step


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 3, bias=False))
    quantize(
        model,
        weights=lambda: Grid(bit_width=2, target="weight"),
        activations=None,
        keep_float=["first"],
    )
    return model


def walk(model: nn.Sequential) -> None:
    """Thirty positions of latent and scale."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(STEPS):
            model[1].weight.add_(torch.randn(3, 4, generator=generator), alpha=0.4)
            model[1].weight_quantizer.step.mul_(1 + 0.1 * torch.randn((), generator=generator))
            yield


def place(latent: Tensor, step: Tensor) -> Tensor:
    return (latent / step + 1.5).round().clamp(0, 3)


def watched(memory: dict[str, Tensor], length: int = LENGTH) -> list[tuple[Tensor, Tensor]]:
    """One epoch; returns the latent and the scale before each step and after the last."""
    torch.manual_seed(0)
    model = network()
    window = Window(model, length=length, steps_per_epoch=STEPS)
    window.see(memory, STEPS)
    history = [(model[1].weight.detach().clone(), model[1].weight_quantizer.step.clone())]
    for done, _ in enumerate(walk(model), 1):
        history.append((model[1].weight.detach().clone(), model[1].weight_quantizer.step.clone()))
        window.see(memory, STEPS - done)
    return history


@pytest.mark.parametrize("length", [1, LENGTH, STEPS, 100])
def test_sums_are_those_of_a_plain_reading(length: int) -> None:
    memory: dict[str, Tensor] = {}
    history = watched(memory, length)[-min(length, STEPS) - 1 :]
    wanted = dict.fromkeys(["flips", "flips_latent", "flips_scale", "path", "oscillations"], 0)
    last, frequency = torch.zeros(3, 4), torch.zeros(3, 4)
    for (theta, scale), (new_theta, new_scale) in zip(history, history[1:], strict=False):
        old, new = place(theta, scale), place(new_theta, new_scale)
        between = place(theta, new_scale)
        for row in range(3):
            for column in range(4):
                at = row, column
                change = (new - old)[at].item()
                wanted["flips"] += change != 0
                wanted["flips_latent"] += (new != between)[at].item()
                wanted["flips_scale"] += (between != old)[at].item()
                wanted["path"] += abs(change)
                oscillates = change * last[at].item() < 0
                wanted["oscillations"] += oscillates
                frequency[at] = 0.01 * oscillates + 0.99 * frequency[at]
                last[at] = change if change else last[at]
    found = seen(memory, "1")
    assert found is not None
    assert found["steps"] == min(length, STEPS)
    assert {name: found[name].item() for name in wanted} == wanted
    assert torch.allclose(found["frequency"], frequency, atol=1e-7)  # float32 sums below 0.3
    assert torch.equal(found["start"].float(), place(*history[0]))
    assert torch.equal(found["codes"].float(), place(*history[-1]))
    assert torch.equal(memory["window/update/1"], history[-1][0] - history[0][0])
    if length > 1:
        assert min(wanted["flips_latent"], wanted["flips_scale"], wanted["oscillations"]) > 0


def test_each_epoch_has_a_window_of_its_own() -> None:
    once: dict[str, Tensor] = {}
    watched(once)
    twice = dict(once)
    watched(twice)
    assert twice.keys() == once.keys()
    assert all(torch.equal(twice[key], once[key]) for key in once)


@pytest.mark.parametrize("cut", [STEPS - LENGTH - 1, STEPS - LENGTH, STEPS - 4, STEPS])
def test_a_checkpoint_within_the_window_continues_bit_for_bit(cut: int) -> None:
    whole: dict[str, Tensor] = {}
    watched(whole)
    torch.manual_seed(0)
    model, memory = network(), {}
    window = Window(model, length=LENGTH, steps_per_epoch=STEPS)
    for done, _ in enumerate(walk(model), 1):
        window.see(memory, STEPS - done)
        if done == cut:
            file = io.BytesIO()
            torch.save(memory, file)
            file.seek(0)
            memory = torch.load(file, weights_only=True)
            window = Window(model, length=LENGTH, steps_per_epoch=STEPS)
    assert memory.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.equal(memory[key], value), key
        assert memory[key].dtype == value.dtype


def test_two_calls_of_codes_a_step_and_none_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, codes = [], Grid.codes
    monkeypatch.setattr(Grid, "codes", lambda *given: calls.append(1) or codes(*given))
    watched({})
    assert len(calls) == 1 + 2 * LENGTH  # the first opens the window


def test_a_step_never_waits_for_the_device() -> None:
    """On the meta device a read of a value raises."""
    model = network().to("meta")
    model[1].weight_quantizer.codes = lambda x: (
        torch.empty(3, 4, dtype=torch.int64, device="meta"),
        torch.empty(3, 4, device="meta"),
    )
    window = Window(model, length=3, steps_per_epoch=5)
    memory: dict[str, Tensor] = {}
    for left in (5, 4, 3, 2, 1, 0):
        window.see(memory, left)
    assert memory["window/steps"] == 3


def test_float_layers_and_epochs_before_the_first_window_have_nothing_to_tell() -> None:
    memory: dict[str, Tensor] = {}
    assert seen(memory, "1") is None
    watched(memory)
    assert seen(memory, "0") is None


def test_what_was_measured_is_forgotten() -> None:
    memory = {"flip_rate/codes/1": torch.zeros(3)}
    watched(memory)
    assert seen(memory, "1") is not None
    Window.forget(memory)
    assert list(memory) == ["flip_rate/codes/1"]
