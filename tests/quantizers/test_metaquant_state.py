"""MetaQuant: initial values, continuation, extreme weights, what it refuses."""

import copy

import pytest
import torch
from metaquant_toy import batches, meta_of, network, run
from torch import nn

from qbench.errors import UsageError
from qbench.quantizers.contract import Progress
from qbench.quantizers.meta_networks import MetaNetwork
from qbench.quantizers.metaquant import MetaQuant
from qbench.study.schema import Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers


@pytest.mark.parametrize(("kind", "depth"), [("fcgrad", 1), ("multifc", 3), ("lstmfc", 2)])
def test_the_unit_start_is_slope_one(kind: str, depth: int) -> None:
    shared = MetaNetwork(kind, 100, depth, "none", "unit")
    x = torch.randn(20, generator=torch.Generator().manual_seed(0))
    expected = torch.ones_like(x) if kind == "lstmfc" else x
    torch.testing.assert_close(shared(x)[0], expected)
    bent = MetaNetwork("fcgrad", 100, 2, "tanh", "unit")
    torch.testing.assert_close(bent(1e-3 * x)[0], 1e-3 * x)  # tanh z = z to z^3 / 3


@pytest.mark.parametrize(
    "options",
    [
        {"order": "released", "refinement": "adam"},
        {"meta": "lstmfc", "hidden": 4, "refinement": "adam"},
        {"meta": "multifc", "activation": "relu"},
    ],
    ids=str,
)
def test_training_goes_on_bit_for_bit_from_its_state(options: dict) -> None:
    data, rates = batches(6, torch.float32), [0.05, 0.04, 0.03, 0.02, 0.01, 0.01]
    model = network(dtype=torch.float32, **options)
    adam = torch.optim.Adam(meta_of(model).parameters())
    list(run(model, data[:3], rates[:3], adam=adam))
    saved = copy.deepcopy((model.state_dict(), adam.state_dict()))
    expected = list(run(model, data[3:], rates[3:], start=3, adam=adam))
    other = network(seed=5, dtype=torch.float32, **options)
    adam = torch.optim.Adam(meta_of(other).parameters())
    other.load_state_dict(saved[0])
    adam.load_state_dict(saved[1])
    found = list(run(other, data[3:], rates[3:], start=3, adam=adam))
    for (points, phi, loss), (other_points, other_phi, other_loss) in zip(
        expected, found, strict=True
    ):
        assert loss == other_loss
        assert all(map(torch.equal, points + phi, other_points + other_phi))


@pytest.mark.parametrize("base", ["dorefa", "bwn", "bwn_filter"])
@pytest.mark.parametrize("kind", ["zero", "constant", "huge", "tiny"])
def test_steps_stay_finite(base: str, kind: str) -> None:
    factor = {"zero": 0.0, "constant": 0.0, "huge": 1e6, "tiny": 1e-12}[kind]
    model = network(dtype=torch.float32, base=base, refinement="adam")
    with torch.no_grad():
        model[0].weight.mul_(factor).add_(0.3 if kind == "constant" else 0.0)
    list(run(model, batches(4, torch.float32), [0.05] * 4))
    for part in [*model.parameters(), *model.state_dict().values()]:
        assert torch.isfinite(part).all()


def test_gradient_clipping_reaches_the_step() -> None:
    """What the recipe does to weight.grad between the two hooks is done to g."""
    model = network(refinement="sgd")
    layer = model[0]
    quantizer, start = layer.weight_quantizer, layer.weight.detach().clone()
    moved = []
    for factor in (1.0, 0.25):
        layer.weight.data.copy_(start)
        quantizer.set_progress(Progress(0, 10, 0, 1, learning_rate=0.1))
        quantizer(layer.weight).sum().backward()
        quantizer.after_backward(layer.weight)
        layer.weight.grad.mul_(factor)
        quantizer.after_step(layer.weight)
        moved.append(layer.weight.detach() - start)
    torch.testing.assert_close(0.25 * moved[0], moved[1])


@pytest.mark.parametrize(
    ("bits", "options", "said"),
    [
        (2, {"base": "bwn"}, "1-bit weights, not 2"),
        (1, {"meta": "lstmfc", "phi_path": "meta"}, "take 'ste'"),
        (1, {"hidden": 0}, "hidden=0"),
        (1, {"depth": 0}, "depth=0"),
    ],
)
def test_impossible_options_are_one_sentence(bits: int, options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MetaQuant.connect([MetaQuant(bit_width=bits, target="weight", **options)])


def test_a_meta_rate_of_zero_freezes_the_network() -> None:
    """So a study can have the straight-through estimator with MetaQuant's own forward."""
    model = network(initial="unit", depth=1, meta_learning_rate=0.0)
    model.append(nn.BatchNorm1d(3).double())  # something for the recipe's optimizer
    engine = Engine(model, make_optimizers(model, Training()), Training())
    start = model[0].weight.detach().clone()
    for step, (x, y) in enumerate(batches(3)):
        engine.step((x, y), Progress(step, 3, 0, 1, learning_rate=0.1))
    assert float(model[0].weight_quantizer.gain) == 1.0
    assert not torch.equal(model[0].weight, start)
