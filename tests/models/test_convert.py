"""Conversion: what is swapped, what stays float, and that the arithmetic survives."""

import pytest
import torch
from torch import nn
from toy_models import Identity, OtherTenths, ShortcutNet, Tenths

from qbench.errors import UsageError
from qbench.models.convert import layers_kept, policy_report, quantize
from qbench.models.layers import QuantConv2d, QuantLinear


def factory(kind, target):
    return lambda: kind(bit_width=4, target=target)


def identity(model, keep_float=()):
    return quantize(
        model,
        weights=factory(Identity, "weight"),
        activations=factory(Identity, "activation"),
        keep_float=keep_float,
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.Conv2d(4, 8, (3, 1), stride=2, padding=(1, 0), groups=4),  # depthwise
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"),
        nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last),
    ],
    ids=lambda layer: layer.extra_repr(),
)
def test_a_convolution_computes_the_same_with_an_identity_quantizer(layer):
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    if not layer.weight.is_contiguous():
        x = x.to(memory_format=torch.channels_last)
    model = nn.Sequential(layer)
    expected = model(x)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    strides = layer.weight.stride()
    identity(model)
    assert type(model[0]) is QuantConv2d
    assert torch.equal(model(x), expected)
    assert model(x).stride() == expected.stride()
    assert model[0].weight.stride() == strides
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_computes_the_same_with_an_identity_quantizer(bias):
    model = nn.Sequential(nn.Linear(5, 3, bias=bias))
    x = torch.randn(2, 7, 5)
    expected = model(x)
    weight = model[0].weight
    assert list(identity(model)) == ["0"]
    assert type(model[0]) is QuantLinear
    assert model[0].weight is weight
    assert torch.equal(model(x), expected)


def test_conversion_draws_no_random_number_and_keeps_hooks():
    model = ShortcutNet()
    calls = []
    model.early.register_forward_hook(lambda *_: calls.append(1))
    state = torch.get_rng_state()
    identity(model)
    assert torch.equal(torch.get_rng_state(), state)
    model(torch.randn(2, 2, 4, 4))
    assert calls == [1]


def test_weights_and_inputs_are_both_quantized():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(0.26)
    quantize(
        model,
        weights=factory(Tenths, "weight"),
        activations=factory(Tenths, "activation"),
        keep_float=(),
    )
    expected = torch.tensor([[0.3]]) * torch.tensor([[0.4]])  # 0.26 and 0.44, in tenths
    torch.testing.assert_close(model(torch.tensor([[0.44]])), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), set()),
        (("first",), {"stem"}),
        (("last",), {"head"}),
        (("shortcut",), {"downsample.0"}),  # and not `early`, which is 1x1 too
        (("first", "last", "shortcut"), {"stem", "downsample.0", "head"}),
        (("*l*",), {"late", "early", "downsample.0"}),
        (("late", "head"), {"late", "head"}),
    ],
)
def test_the_policy_words_and_patterns_name_their_layers(words, expected):
    model = ShortcutNet()
    assert layers_kept(model, words) == expected
    converted = identity(model, words)
    assert set(converted) == {"stem", "late", "early", "downsample.0", "head"} - expected


def test_last_is_the_last_convolution_where_there_is_no_linear_layer():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    assert layers_kept(model, ("last",)) == {"2"}


def test_a_word_that_fits_no_layer_is_no_error_but_a_pattern_is():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    assert layers_kept(model, ("shortcut",)) == set()
    with pytest.raises(UsageError, match="'frist'; did you mean 'first'.*allowed: 0, 1, first"):
        layers_kept(model, ("frist",))


def test_nothing_left_to_quantize_is_an_error_and_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="leaves no layer"):
        identity(model, ("first",))
    assert type(model[0]) is nn.Linear


def test_subclasses_with_their_own_use_of_the_weight_stay_float():
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4))
    assert list(identity(model)) == ["1"]


def test_a_layer_used_under_two_names_is_swapped_under_both():
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict({"a": shared, "b": shared})
    assert list(identity(model)) == ["a"]
    assert type(model["b"]) is QuantLinear


def test_float_bits_leave_their_tensor_alone():
    model = ShortcutNet()
    assert quantize(model, weights=None, activations=None, keep_float=("no such",)) == {}
    layers = quantize(model, weights=None, activations=factory(Tenths, "activation"), keep_float=())
    assert all(layer.weight_quantizer is None for layer in layers.values())
    assert layers["stem"].quantized_weight() is layers["stem"].weight


def test_each_class_is_connected_once_with_all_of_its_quantizers():
    Tenths.connected.clear()
    layers = quantize(
        ShortcutNet(),
        weights=factory(Tenths, "weight"),
        activations=factory(OtherTenths, "activation"),
        keep_float=("first",),
    )
    groups = {type(group[0]): group for group in Tenths.connected}
    assert len(Tenths.connected) == len(groups) == 2
    assert groups[Tenths] == [layer.weight_quantizer for layer in layers.values()]
    assert groups[OtherTenths] == [layer.activation_quantizer for layer in layers.values()]


class WithNetwork(Identity):
    """A quantizer with a layer of its own, which is no layer of the network."""

    def __init__(self, *, bit_width, target):
        super().__init__(bit_width=bit_width, target=target)
        self.meta = nn.Linear(2, 2)


def test_the_report_lists_quantized_and_float_layers_with_their_parameters():
    model = ShortcutNet()
    quantize(model, weights=factory(WithNetwork, "weight"), activations=None, keep_float=("first",))
    report = policy_report(model)
    assert [(line.name, line.kind, line.parameters, line.quantized) for line in report] == [
        ("stem", "Conv2d", 2 * 4 * 9 + 4, False),
        ("late", "Conv2d", 4 * 2 * 9 + 4, True),
        ("early", "Conv2d", 4 * 4 + 4, True),
        ("downsample.0", "Conv2d", 4 * 4, True),
        ("head", "Linear", 4 * 3 + 3, True),
    ]
    assert {(line.weight_bits, line.activation_bits) for line in report} == {(32, 32), (4, 32)}
