"""The built-in float networks: shapes, sizes known from the papers, and refused requests."""

import pytest
import torch
from torch import nn

from qbench.errors import UsageError
from qbench.models.build import build_model
from qbench.registry import models
from qbench.study.schema import Component


def make(name, channels=3, classes=10, size=32, **options):
    torch.manual_seed(0)
    component = Component(name=name, options=options)
    return build_model(component, channels=channels, classes=classes, size=size)


def parameters(model):
    return sum(part.numel() for part in model.parameters())


def resnet_parameters(blocks, *, channels=3, classes=10, projection=False):
    """Counted by hand: 3x3 convolutions without bias, two numbers a batch-norm channel."""
    count = channels * 16 * 9 + 2 * 16
    inputs = 16
    for width in (16, 32, 64):
        count += inputs * width * 9 + (2 * blocks - 1) * width * width * 9 + 2 * blocks * 2 * width
        if projection and inputs != width:
            count += inputs * width + 2 * width
        inputs = width
    return count + 64 * classes + classes


def test_resnet20_has_the_published_number_of_parameters():
    assert resnet_parameters(3) == 269_722  # 0.27 M in table 6 of the paper
    assert parameters(make("resnet20")) == 269_722


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("resnet8", 1), ("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9)],
)
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnets_have_the_parameters_counted_by_hand(name, blocks, shortcut):
    expected = resnet_parameters(blocks, classes=100, projection=shortcut == "B")
    assert parameters(make(name, classes=100, shortcut=shortcut)) == expected


def test_resnet110_has_110_layers():
    model = make("resnet110")
    assert sum(isinstance(part, nn.Conv2d | nn.Linear) for part in model.modules()) == 110
    assert parameters(model) == resnet_parameters(18)


@pytest.mark.parametrize(
    ("name", "channels", "size", "options"),
    [
        ("resnet8", 1, 8, {}),
        ("resnet8", 5, 9, {"shortcut": "B"}),  # 9: the stride-2 sizes are rounded up alike
        ("resnet20", 3, 33, {}),
        ("vgg_small", 1, 8, {}),
        ("vgg_small", 3, 32, {}),
        ("mlp", 1, 8, {}),
        ("mlp", 3, 32, {"depth": 0, "width": 7}),
    ],
)
def test_networks_take_their_images(name, channels, size, options):
    model = make(name, channels=channels, classes=7, size=size, **options)
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_padded_shortcut_keeps_every_second_pixel_between_zeros():
    block = make("resnet8").stage2[0]
    x = torch.randn(1, 16, 8, 8)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (1, 32, 4, 4)
    torch.testing.assert_close(shortcut[:, 8:24], x[:, :, ::2, ::2], rtol=0, atol=0)
    assert shortcut[:, :8].count_nonzero() == 0 == shortcut[:, 24:].count_nonzero()
    assert not list(block.shortcut.parameters())


@pytest.mark.parametrize("name", ["resnet8", "vgg_small", "mlp"])
def test_inputs_of_all_layers_but_the_first_are_not_negative(name):
    model = make(name)
    lows = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(lambda _, inputs: lows.append(inputs[0].min().item()))
    model(torch.randn(4, 3, 32, 32))
    assert lows[0] < 0
    assert min(lows[1:]) == 0  # a ReLU's output, which has zeros


def test_vgg_small_has_the_parameters_counted_by_hand():
    pairs = [(3, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    expected = sum(a * b * 9 + 2 * b for a, b in pairs) + 512 * 4 * 4 * 10 + 10
    assert parameters(make("vgg_small")) == expected == 4_660_106


def test_vgg_small_refuses_an_image_that_three_poolings_eat_up():
    with pytest.raises(UsageError, match="7x7.*8x8 or more"):
        make("vgg_small", size=7)


def test_mlp_has_the_asked_layers():
    model = make("mlp", channels=1, size=8, width=5, depth=3, batch_norm=False)
    linear = [part for part in model if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == [
        (64, 5), (5, 5), (5, 5), (5, 10),
    ]  # fmt: skip
    assert all(part.bias is not None for part in linear)
    with_norm = make("mlp", channels=1, size=8, width=5, depth=3)
    assert sum(isinstance(part, nn.BatchNorm1d) for part in with_norm) == 3
    with pytest.raises(UsageError, match="width=0"):
        make("mlp", width=0)


def test_initial_values_follow_the_seed():
    first, second = make("resnet8").state_dict(), make("resnet8").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet19", {}, "no model 'resnet19'; did you mean 'resnet110'|did you mean 'resnet"),
        ("resnet20", {"shortcut": "C"}, "shortcut='C'"),
        ("resnet20", {"width": 3}, "width=3.*its options: shortcut"),
        ("vgg_small", {"width": 3}, "its options: activation, init, init_scale"),
    ],
)
def test_wrong_names_and_options_are_one_sentence(name, options, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        make(name, **options)
    assert "\n" not in str(caught.value)


def test_every_declared_model_states_its_summary():
    entries = models.entries()
    expected = {"mlp", "vgg_small", "torchvision/*", *(f"resnet{n}" for n in (8, 20, 32, 110))}
    assert expected <= set(entries)
    assert all(entry.summary and "paper" in entry.facts for entry in entries.values())
