"""The data-dependent start: order, inputs, and that nothing else moves."""

import pytest
import torch
from torch import nn
from toy_models import ShortcutNet, Tenths

from qbench.errors import UsageError
from qbench.models.convert import initialize, quantize


@pytest.fixture
def model():
    torch.manual_seed(0)
    Tenths.log.clear()
    return ShortcutNet()


def convert(model, keep_float=()):
    return quantize(
        model,
        weights=lambda: Tenths(bit_width=4, target="weight"),
        activations=lambda: Tenths(bit_width=4, target="activation"),
        keep_float=keep_float,
    )


def test_layers_start_once_in_forward_order_input_before_weight(model):
    layers = convert(model)
    initialize(model, torch.randn(3, 2, 4, 4))
    names = {id(layer): name for name, layer in layers.items()}
    order = ["stem", "early", "late", "downsample.0", "head"]  # as called, not as registered
    assert [(names[id(layer)], target) for target, layer, _, _ in Tenths.log] == [
        (name, target) for name in order for target in ("activation", "weight")
    ]
    for target, layer, x, inputs in Tenths.log:
        assert x is (layer.weight if target == "weight" else inputs)


def test_a_layer_sees_what_the_quantized_layers_before_it_make(model):
    layers = convert(model)
    images = torch.randn(3, 2, 4, 4)
    initialize(model, images)
    weight = torch.round(layers["stem"].weight * 10) / 10
    stem = nn.functional.conv2d(
        torch.round(images * 10) / 10, weight, layers["stem"].bias, padding=1
    )
    expected = torch.relu(nn.functional.batch_norm(stem, None, None, training=True))
    seen = {id(layer): inputs for _, layer, _, inputs in Tenths.log}
    torch.testing.assert_close(seen[id(layers["early"])], expected)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_flags_gradients_and_random_numbers_are_unchanged(model, training):
    convert(model)
    model.train(training)
    model.early.eval()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    flags = {name: part.training for name, part in model.named_modules()}
    state = torch.get_rng_state()
    initialize(model, torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1)) + 5)
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert {name: part.training for name, part in model.named_modules()} == flags
    assert all(part.grad is None for part in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)  # dropout draws nothing
    count = len(Tenths.log)
    model(torch.randn(2, 2, 4, 4))
    assert len(Tenths.log) == count  # no hook stays behind


def test_a_layer_that_is_called_twice_starts_once():
    Tenths.log.clear()
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    convert(model)
    images = torch.randn(2, 3)
    initialize(model, images)
    assert [target for target, *_ in Tenths.log] == ["activation", "weight"]
    assert Tenths.log[0][3] is images


class WeightOnly(nn.Module):
    """Uses a layer's weight without calling the layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.unusual = nn.Linear(3, 3)

    def forward(self, x):
        return nn.functional.linear(self.first(x), self.unusual.weight)


def test_a_quantized_layer_that_is_not_called_is_named():
    model = WeightOnly()
    convert(model)
    with pytest.raises(UsageError, match=r"does not call 1 of its layers.*: unusual; add them"):
        initialize(model, torch.randn(2, 3))


def test_statistics_are_restored_when_the_forward_fails(model):
    convert(model)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    model.head.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        initialize(model, torch.randn(3, 2, 4, 4))
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert model.training
