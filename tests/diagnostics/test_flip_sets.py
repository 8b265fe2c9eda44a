"""G1 on networks: what is read, and the identity quantizer with tiny moves."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.flips import flips
from qbench.diagnostics.measure import Chosen, Measured, measure
from qbench.diagnostics.probe import Probe, Suffix
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer
from qbench.registry import diagnostics, quantizers


def network(
    bits: int,
    weights: str | None,
    activations: str | None = None,
    between: type[nn.Module] = nn.ReLU,
) -> Probe:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 40), between(), nn.Linear(40, 30), between())
    model.append(nn.Linear(30, 3))

    def of(name: str | None, target: str) -> object:
        kind = None if name is None else quantizers.load(name)
        return None if kind is None else lambda: kind(bit_width=bits, target=target)

    quantize(
        model,
        weights=of(weights, "weight"),
        activations=of(activations, "activation"),
        keep_float=["last"],
    )
    images, labels = torch.randn(100, 12), torch.randint(0, 3, (100,))
    initialize(model, images)
    return Probe(model, images, labels, seed=1)


def measured(probe: Probe, name: str = "flip_sets", **options: object) -> Measured:
    measurement = Measurement(
        probe=probe,
        epoch=3,
        layers=tuple(probe.layers),
        held_out=lambda: [],
        training=lambda: [],
    )
    return measure([Chosen(name, options)], measurement)


def test_every_quantity_of_every_share_is_read_with_its_error() -> None:
    found = measured(network(2, "ste"), sets=16)
    names = {
        f"gradient/flip_set_{quantity}_{share}{end}"
        for quantity in ("r", "slope", "offset")
        for share in ("0.2pct", "1pct", "5pct")
        for end in ("", "_se")
    }
    assert {(row.layer, row.name) for row in found.layers} == {
        (layer, name) for layer in ("0", "2") for name in names
    }
    scatter = [row for row in found.points if row.name == "gradient/flip_set_1pct"]
    assert len(scatter) == 2 * 16
    tracked = diagnostics.entries()["flip_sets"].facts["tracked"]
    assert set(tracked) <= names


def test_tiny_moves_of_an_identity_quantizer_are_foretold() -> None:  # T14
    # each distinct weight is a level, so that a move is to the next weight of the layer
    found = measured(network(32, "float", between=nn.Tanh), sets=64, shares=(0.05, 0.2))
    for row in found.layers:
        if "_r_" in row.name and not row.name.endswith("_se"):
            assert row.value > 0.999, row
        if "_slope_" in row.name and not row.name.endswith("_se"):
            assert abs(row.value - 1) < 0.01, row


def test_predicted_and_actual_changes_are_those_of_the_plain_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = network(2, "ste", "ste")
    weights = []
    original = Suffix.loss
    monkeypatch.setattr(
        Suffix, "loss", lambda self, weight: weights.append(weight) or original(self, weight)
    )
    with probe.undisturbed():
        found = flips(probe, "2", 0.02, 5)
        gamma = probe.gradients["2"].at_used
        here = probe.deployed["2"]
    plain = copy.deepcopy(probe.model)
    for part in plain.modules():
        if isinstance(part, Quantizer):  # deployed forwards, by the contract's definition
            part.forward = part.deployed
    with torch.no_grad():

        def loss(weight: torch.Tensor) -> torch.Tensor:
            plain[2].fixed_weight = weight
            return F.cross_entropy(plain.double()(probe.images.double()), probe.labels)

        for weight, predicted, actual in zip(weights, *found, strict=True):
            expected = float(loss(weight.double()) - loss(here.double()))
            assert abs(actual - expected) < 1e-6  # float32 rounding of 100 averaged losses
            dot = float((gamma.double() * (weight - here).double()).sum())
            assert abs(predicted - dot) < 1e-12


def test_a_gradient_of_zero_says_nothing() -> None:
    probe = network(2, "ste")
    probe.images.zero_()  # no input, no effect of the first weight
    probe.model[0].bias.data.zero_()
    found = measured(probe, sets=8)
    assert {row.layer for row in found.layers} <= {"2"}


def test_a_network_with_float_weights_has_no_flip_sets() -> None:
    probe = network(2, None, "ste")
    for name in ("flip_sets", "flip_descent", "jacobian_alignment", "gradient_noise"):
        assert measured(probe, name) == Measured([], [], [])
