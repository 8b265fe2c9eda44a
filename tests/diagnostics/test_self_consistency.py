"""An exact backward is told from a rule."""

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.self_consistency import self_consistency
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.daq import DAQ
from qbench.quantizers.functional import with_gradient
from qbench.quantizers.quantization_networks import QuantizationNetworks
from qbench.quantizers.quantnet import QuantNet
from qbench.quantizers.ste import STE


class Tanh(Quantizer):
    """Trains with tanh(20 x) and its own slope, deploys its sign."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(20 * x)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x >= 0).long(), torch.tensor([-1.0, 1.0])


class StraightTanh(Tanh):
    """The same forward, with 1 for a slope."""

    def forward(self, x: Tensor) -> Tensor:
        return with_gradient(x, torch.tanh(20 * x.detach()))


class RandomTanh(Tanh):
    stochastic = True


def found(
    kind: type[Quantizer], activations: type[Quantizer] | None = None, **options: object
) -> dict[tuple[str, str], float]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    )  # fmt: skip
    images, labels = torch.randn(64, 3, 8, 8), torch.arange(64) % 5
    quantize(
        model,
        weights=lambda: kind(bit_width=1, target="weight", **options),  # type: ignore[arg-type]
        activations=activations and (lambda: activations(bit_width=2, target="activation")),
        keep_float=["first"],
    )
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    measurement = Measurement(probe, 0, ("3", "8"), lambda: [], lambda: [])
    with probe.undisturbed():
        return {(one.layer, one.name): float(one.value) for one in self_consistency(measurement)}


@pytest.mark.parametrize("kind", [Tanh, QuantNet, QuantizationNetworks])
def test_t6_an_exact_backward_agrees_with_its_soft_forward(kind: type[Quantizer]) -> None:
    readings = found(kind)
    for layer in "38":
        assert readings[layer, "gradient/self_consistency"] >= 0.999  # T6
        gain = readings[layer, "gradient/self_consistency_gain"]
        assert gain == pytest.approx(1, abs=0.01)  # T6


def test_a_rule_for_a_soft_forward_does_not() -> None:
    readings = found(StraightTanh)
    for layer in "38":
        value = readings[layer, "gradient/self_consistency"]
        assert 0.3 < value < 0.999 - 3 * readings[layer, "gradient/self_consistency_se"]
        # 20 sech^2(20 x) for latents of up to 0.14, where the rule has 1
        assert readings[layer, "gradient/self_consistency_gain"] > 1.5


def test_steps_left_in_a_soft_forward_do_not_pass_for_exact() -> None:
    readings = found(DAQ, rounding="soft")  # its choice of levels is a step
    assert min(readings[layer, "gradient/self_consistency"] for layer in "38") < 0.999


@pytest.mark.parametrize("kind", [STE, DAQ, RandomTanh])
def test_hard_and_random_forwards_have_none(kind: type[Quantizer]) -> None:
    assert found(kind) == {}


def test_a_hard_forward_has_none_with_hard_activations_either() -> None:
    assert found(STE, STE) == {}


def test_a_hard_weight_among_soft_activations_is_no_exact_backward() -> None:
    readings = found(STE, QuantizationNetworks)
    assert max(readings[layer, "gradient/self_consistency"] for layer in "38") < 0.9
