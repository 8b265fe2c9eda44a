"""Traces of Hessians by random signs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.curvature import curvature, rademacher, trace_samples
from qbench.diagnostics.probe import Probe
from qbench.models.convert import initialize, quantize
from qbench.quantizers.ste import STE


def test_t13_mean_and_variance_of_the_estimates() -> None:
    size, vectors = 40, 20_000  # a variance is then known to 1 %
    root = torch.from_numpy(np.random.default_rng(0).standard_normal((size, size)))
    matrix = root + root.T
    like = torch.zeros(size, dtype=torch.float64)
    samples = trace_samples(lambda z: matrix @ z, like, np.random.default_rng(1), vectors)
    variance = 2 * (matrix.square().sum() - matrix.diagonal().square().sum())
    assert float(samples.var()) == pytest.approx(float(variance), rel=0.03)  # T13
    error = float((variance / vectors).sqrt())
    assert abs(float(samples.mean() - matrix.trace())) < 3 * error


def test_a_diagonal_is_exact() -> None:
    diagonal = torch.arange(6.0).view(2, 3)
    samples = trace_samples(lambda z: diagonal * z, diagonal, np.random.default_rng(2), 3)
    assert samples.tolist() == [15.0] * 3


def test_signs_are_signs() -> None:
    drawn = rademacher(np.random.default_rng(3), torch.zeros(1_000))
    assert drawn.abs().eq(1).all()
    assert abs(float(drawn.mean())) < 0.1  # 3 / sqrt(1000)


def test_the_network_s_trace_is_that_of_its_hessian() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4))
    images, labels = torch.randn(50, 6), torch.arange(50) % 4
    quantize(
        model,
        weights=lambda: STE(bit_width=2, target="weight"),
        activations=None,
        keep_float=["last"],
    )
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    with probe.undisturbed():
        used = probe.trained["0"]
        measurement = Measurement(probe, 0, ("0",), lambda: [], lambda: [])
        found = {one.name: float(one.value) for one in curvature(measurement, vectors=200)}

    def loss(weight: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(images @ weight.view(10, 6).T + model[0].bias)
        return cross_entropy(model[2](hidden), labels)

    hessian = torch.autograd.functional.hessian(loss, used.flatten())
    expected = float(hessian.trace()) / used.numel()
    error = found["gradient/curvature_se"]
    assert error < 0.1 * abs(expected)  # enough vectors to tell
    # 200 signs, and the fourth derivatives that the difference of gradients takes along
    assert found["gradient/curvature"] == pytest.approx(expected, abs=3 * error)


def test_a_layer_without_a_quantized_weight_is_left_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    images, labels = torch.randn(8, 6), torch.arange(8) % 4
    quantize(
        model,
        weights=None,
        activations=lambda: STE(bit_width=2, target="activation"),
        keep_float=[],
    )
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    with probe.undisturbed():
        assert list(curvature(Measurement(probe, 0, ("0",), lambda: [], lambda: []))) == []
