"""Activations and shortcuts of binary networks: signs where a sign is taken, and nothing else."""

import pytest
import torch
from torch import nn
from toy_models import Identity

from qbench.errors import UsageError
from qbench.models.activations import RPReLU, activation_layer
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.study.schema import Component

SIGNED = ("hardtanh", "prelu", "rprelu", "none")


def make(name="resnet8", size=16, **options):
    torch.manual_seed(0)
    component = Component(name=name, options=options)
    return build_model(component, channels=3, classes=10, size=size)


@pytest.mark.parametrize("residual", ["block", "convolution"])
def test_defaults_are_the_networks_of_before(residual):
    names = {f"stage1.0.{part}.weight" for part in ("conv1", "conv2", "bn1", "bn2")}
    found = dict(make(residual=residual).named_parameters())
    assert {name for name in found if name.startswith("stage1.0") and "bias" not in name} == names
    written = make(shortcut="A", activation="relu", residual="block", init="own", init_scale=1.0)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(make()(images), written(images))


def test_the_default_block_is_the_papers():
    block = make().stage2[0].eval()
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0)).relu()
    inside = torch.relu(block.bn1(block.conv1(x)))
    expected = torch.relu(block.bn2(block.conv2(inside)) + block.shortcut(x))
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("activation", SIGNED)
@pytest.mark.parametrize("name", ["resnet8", "vgg_small", "mlp"])
def test_every_quantized_layer_reads_values_of_both_signs(name, activation):
    model = make(name, activation=activation)
    positive = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(
                lambda _, inputs: positive.append((inputs[0] > 0).double().mean().item())
            )
    model(torch.randn(8, 3, 16, 16))
    # about half of what a batch norm makes is positive
    assert all(0.3 < share < 0.7 for share in positive[1:-1])


@pytest.mark.parametrize("activation", SIGNED)
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_shortcut_around_every_convolution(activation, shortcut):
    block = make(activation=activation, residual="convolution", shortcut=shortcut).stage2[0].eval()
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    middle = block.activation1(block.bn1(block.conv1(x)) + block.shortcut(x))
    expected = block.activation2(block.bn2(block.conv2(middle)) + middle)
    assert torch.equal(block(x), expected)
    plain = make(activation=activation, shortcut=shortcut).stage2[0].eval()
    assert not torch.equal(plain(x), expected)


def test_the_sum_before_a_sign_reaches_the_end_of_the_block_unchanged():
    block = make(activation="none", residual="convolution").stage1[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), block.bn1(block.conv1(x)) + x)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 6)])
def test_rprelu_is_a_shifted_prelu(shape):
    layer = RPReLU(3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(layer(x), nn.PReLU(3)(x))  # as it starts
    values = torch.tensor([[0.5, -1.0, 0.0], [0.1, 0.2, 0.3], [0.25, 2.0, -0.5]])
    with torch.no_grad():
        for parameter, value in zip((layer.gamma, layer.zeta, layer.slope), values, strict=True):
            parameter.copy_(value)
    gamma, zeta, slope = values.view(3, -1, *(1,) * (len(shape) - 2))
    above = (x > gamma).float()
    wanted = (x - gamma) * (above + slope * (1 - above)) + zeta
    torch.testing.assert_close(layer(x), wanted)
    layer(x).sum().backward()
    others = [axis for axis in range(x.ndim) if axis != 1]
    torch.testing.assert_close(layer.zeta.grad, torch.ones(shape).sum(others))
    torch.testing.assert_close(layer.gamma.grad, -(above + slope * (1 - above)).sum(others))


def test_activations_with_parameters_have_them_by_channel():
    # resnet8 has an activation after its stem and two a block, of 16, 2x16, 2x32, 2x64 channels
    channels = 16 + 2 * (16 + 32 + 64)
    count = {
        name: sum(part.numel() for part in make(activation=name).parameters())
        for name in ("relu", "none", "hardtanh", "prelu", "rprelu")
    }
    assert count["relu"] == count["none"] == count["hardtanh"]
    assert count["prelu"] - count["relu"] == channels
    assert count["rprelu"] - count["relu"] == 3 * channels
    # so that weight decay leaves them alone, as the papers of both want it
    assert all(part.ndim == 1 for part in activation_layer("rprelu", 4).parameters())


def test_vgg_pools_before_the_batch_norm_of_signed_values():
    def order(activation):
        return [type(part).__name__ for part in make("vgg_small", activation=activation)][3:7]

    assert order("relu") == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert order("hardtanh") == ["Conv2d", "MaxPool2d", "BatchNorm2d", "Hardtanh"]


class Signs(Identity):
    signed_inputs = True


@pytest.mark.parametrize("name", ["resnet8", "vgg_small", "mlp"])
def test_a_sign_is_refused_after_a_relu_and_taken_after_the_option_that_the_sentence_names(name):
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def start(**options):
        model = make(name, **options)
        quantize(
            model,
            weights=None,
            activations=lambda: Signs(bit_width=1, target="activation"),
            keep_float=["first", "last"],
        )
        initialize(model, images)

    with pytest.raises(UsageError, match="with activation: hardtanh"):
        start()
    start(activation="hardtanh")
