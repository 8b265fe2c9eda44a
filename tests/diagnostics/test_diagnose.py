"""Diagnostics of a network of one's own: the docstring's example, and what is refused."""

import doctest

import pytest
import torch
from torch import nn

import qbench
from qbench.diagnostics import alone
from qbench.errors import UsageError
from qbench.models.convert import initialize, quantize
from qbench.quantizers.dorefa import DoReFa

BATCH = (torch.randn(8, 6), torch.arange(8) % 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    quantize(
        model,
        weights=lambda: DoReFa(bit_width=2, target="weight"),
        activations=None,
        keep_float=[],
    )
    initialize(model, BATCH[0])
    return model


def test_the_example_runs() -> None:
    assert doctest.testmod(alone, raise_on_error=True).attempted > 5


def test_every_bundle_runs_on_a_network_of_linear_layers() -> None:
    assert {row.name for row in qbench.diagnose(network(), BATCH, "economy").network}
    full = {row.name for row in qbench.diagnose(network(), BATCH, "full").network}
    assert {"gradient/flip_set_r_5pct", "output/accuracy_gap"} <= full


def test_the_chosen_layers_alone_are_measured() -> None:
    found = qbench.diagnose(network(), BATCH, ["latent_error"], layers=["2"])
    assert {row.layer for row in found.layers} == {"2"}


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'standard'"):
        qbench.diagnose(network(), BATCH, "standart")
    with pytest.raises(UsageError, match="did you mean 'flip_sets'"):
        qbench.diagnose(network(), BATCH, ["flip_set"])
    with pytest.raises(UsageError, match="no quantized layer '3'"):
        qbench.diagnose(network(), BATCH, layers=["3"])
    with pytest.raises(UsageError, match="has no quantized layer"):
        qbench.diagnose(nn.Linear(6, 3), BATCH)
