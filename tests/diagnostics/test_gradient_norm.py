"""Norms of the gradient against closed forms and autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.measure import Chosen, Measured, measure
from qbench.diagnostics.probe import Probe
from qbench.models.convert import initialize, quantize
from qbench.quantizers.ste import STE


def network(*keep_float: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    quantize(
        model,
        weights=lambda: STE(bit_width=2, target="weight"),
        activations=None,
        keep_float=list(keep_float),
    )
    images, labels = torch.randn(12, 6), torch.randint(0, 3, (12,))
    initialize(model, images)
    return model, images, labels


def norms(
    model: nn.Sequential, images: Tensor, labels: Tensor, *layers: str, seed: int = 0
) -> Measured:
    probe = Probe(model, images, labels, seed=seed)
    measurement = Measurement(probe, 1, layers, lambda: [], lambda: [])
    return measure([Chosen("gradient_norm", {})], measurement)


def test_layers_are_those_of_autograd_and_the_network_is_their_root_of_squares() -> None:
    model, images, labels = network()
    found = norms(model, images, labels, "0", "2")
    loss = F.cross_entropy(model(images), labels)
    expected = [
        g.norm().item() for g in torch.autograd.grad(loss, (model[0].weight, model[2].weight))
    ]
    of_layers = [row.value for row in found.layers if row.name == "gradient/latent_norm"]
    assert of_layers == pytest.approx(expected, rel=1e-5)
    of_network = {row.name: row.value for row in found.network}
    assert of_network["gradient/latent_norm"] == pytest.approx(math.hypot(*expected), rel=1e-5)
    assert of_network.keys() == {"gradient/latent_norm", "gradient/weight_norm"}


def test_the_weights_gradient_is_of_what_training_computes_with() -> None:
    model, images, labels = network("0")
    found = norms(model, images, labels, "2")
    hidden = F.relu(images @ model[0].weight.T)
    used = model[2].weight_quantizer(model[2].weight).detach()
    chances = (hidden @ used.T).softmax(-1) - F.one_hot(labels, 3)
    expected = (chances.T @ hidden / len(labels)).norm().item()  # dL/dW of a linear classifier
    values = {row.name: row.value for row in found.network}
    assert values["gradient/weight_norm"] == pytest.approx(expected, rel=1e-5)


def test_a_layer_without_a_quantized_weight_has_no_norm() -> None:
    model, images, labels = network()
    model[0].weight_quantizer = None
    assert {row.layer for row in norms(model, images, labels, "0", "2").layers} == {"2"}
    assert not norms(model, images, labels, "0").network
