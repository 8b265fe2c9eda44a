"""Flips: how many, of the latent or of the scale, and what is left of them."""

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.flip_rate import flip_rate
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.window import Window
from qbench.models.convert import quantize
from qbench.quantizers.lsq import LSQ


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 2))
    quantize(
        model, weights=lambda: LSQ(bit_width=2, target="weight"), activations=None, keep_float=["1"]
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, 0.6, -0.6, -1.1]]))  # codes 0, 1, -1, -1
    return model


def measure(model: nn.Sequential, memory: dict[str, Tensor]) -> dict[str, float]:
    probe = Probe(model, torch.randn(2, 4), torch.tensor([0, 1]), seed=0)
    measurement = Measurement(probe, 1, ("0",), lambda: [], lambda: [], memory)
    return {one.name: one.value.item() for one in flip_rate(measurement)}


def test_flips_are_told_apart_by_their_cause() -> None:
    model, memory = network(), {}
    window = Window(model, length=2, steps_per_epoch=2)
    window.see(memory, 2)
    with torch.no_grad():
        model[0].weight[0, 0] = 0.7  # a latent crosses a threshold
    window.see(memory, 1)
    with torch.no_grad():
        model[0].weight_quantizer.step.fill_(0.65)  # a threshold crosses -1.1, at 1.5 steps
    window.see(memory, 0)
    values = measure(model, memory)
    assert values["dynamics/flip_rate"] == pytest.approx(2 / 8)
    assert values["dynamics/flip_rate_latent"] == pytest.approx(1 / 8)
    assert values["dynamics/flip_rate_scale"] == pytest.approx(1 / 8)


def test_both_causes_may_cancel() -> None:
    model, memory = network(), {}
    window = Window(model, length=1, steps_per_epoch=1)
    window.see(memory, 1)
    with torch.no_grad():  # everything doubles: no code changes
        model[0].weight.mul_(2)
        model[0].weight_quantizer.step.mul_(2)
    window.see(memory, 0)
    values = measure(model, memory)
    assert values["dynamics/flip_rate"] == 0
    assert values["dynamics/flip_rate_scale"] == values["dynamics/flip_rate_latent"] == 2 / 4


def test_the_net_change_is_between_measurements() -> None:
    model, memory = network(), {}
    assert not measure(model, memory)  # no window yet, and nothing to compare with
    assert measure(model, memory) == {"dynamics/net_change": 0}
    with torch.no_grad():
        model[0].weight[0, :3] = torch.tensor([0.9, 0.6, 0.9])
    assert measure(model, memory) == {"dynamics/net_change": 0.5}
