"""Multiply-accumulates, bit-operations and ideal bytes, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from qbench.deployment.audit import audit_report
from qbench.deployment.cost import deployed_cost, layer_macs
from qbench.deployment.freeze import freeze, save_deployed
from qbench.deployment.load import load_deployed
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.quantizers.ste import STE
from qbench.study.schema import Component

IMAGE = torch.zeros(1, 3, 32, 32)
KEEP = ("first", "last", "shortcut")

# ResNet-20, 32 x 32 images, 10 classes: output pixels x output channels x weights of a channel.
FIRST = 32 * 32 * 16 * (3 * 9)  # 442,368
STAGE1 = 6 * 32 * 32 * 16 * (16 * 9)  # three blocks of two convolutions: 14,155,776
STAGE2 = 16 * 16 * 32 * (16 * 9) + 5 * 16 * 16 * 32 * (32 * 9)  # the first has 16 inputs
STAGE3 = 8 * 8 * 64 * (32 * 9) + 5 * 8 * 8 * 64 * (64 * 9)
LAST = 64 * 10
SHORTCUTS = 16 * 16 * 32 * 16 + 8 * 8 * 64 * 32  # of type B: a 1x1 convolution in two stages
INNER = STAGE1 + STAGE2 + STAGE3
RESNET20 = FIRST + INNER + LAST
INNER_WEIGHTS = 6 * 2304 + (4608 + 5 * 9216) + (18432 + 5 * 36864)  # 267,264
# Of the first and last layer with its bias, then scale, shift, mean and variance of batch norm.
FLOAT_NUMBERS = 432 + 650 + 4 * (7 * 16 + 6 * 32 + 6 * 64)


def network(shortcut: str = "A", model: str = "resnet20") -> nn.Module:
    options = {"shortcut": shortcut} if model == "resnet20" else {}
    return build_model(Component(name=model, options=options), channels=3, classes=10, size=32)


def deployed(weight: int, activation: int) -> dict[str, int]:
    """The costs in the audit of a network that went through its file."""
    torch.manual_seed(0)

    def fresh() -> nn.Module:
        plain = network()
        kinds = {"weight": weight, "activation": activation}
        made = {
            target: (lambda target=target, bits=bits: STE(bit_width=bits, target=target))
            if bits < 32
            else None
            for target, bits in kinds.items()
        }
        quantize(plain, weights=made["weight"], activations=made["activation"], keep_float=KEEP)
        return plain

    trained, images = fresh(), torch.randn(4, 3, 32, 32)
    initialize(trained, images)
    data = save_deployed(freeze(trained))
    return audit_report(data, load_deployed(data, fresh()), images, weight, activation)["cost"]


def test_resnet20_takes_as_many_products_as_on_paper() -> None:
    assert RESNET20 == 40_551_040  # "41 M" in papers
    assert sum(layer_macs(network(), IMAGE).values()) == RESNET20
    with_shortcuts = layer_macs(network("B"), IMAGE)
    assert sum(with_shortcuts.values()) == RESNET20 + SHORTCUTS == 40_813_184
    assert with_shortcuts["stage2.0.shortcut.0"] == 16 * 16 * 32 * 16
    assert with_shortcuts["stage2.0.conv1"] == 16 * 16 * 32 * 16 * 9
    assert with_shortcuts["conv1"] == FIRST


def test_an_mlp_takes_a_product_for_each_weight() -> None:
    costs = deployed_cost(network(model="mlp"), IMAGE, {}, {})
    weights = 3072 * 256 + 256 * 256 + 256 * 10
    assert costs.macs == weights
    assert costs.bops == weights * 32 * 32
    assert costs.parameters == weights + 2 * 2 * 256 + 10  # two batch norms, the last bias
    assert costs.ideal_bytes == 4 * (weights + 2 * 4 * 256 + 10)  # with their statistics


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # 8 x 8 outputs after stride 2; each of 12 channels sees 6 / 3 inputs through 3 x 5.
        (nn.Conv2d(6, 12, (3, 5), 2, (1, 2), groups=3), (1, 6, 16, 16), 8 * 8 * 12 * 2 * 15),
        (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 3 * 3 * 6 * 1 * 9),  # depthwise, no padding
        (nn.Conv2d(4, 8, 3, dilation=2), (1, 4, 9, 9), 5 * 5 * 8 * 4 * 9),
        (nn.Linear(7, 5), (1, 3, 7), 3 * 5 * 7),  # of each of three tokens
        (nn.Conv1d(4, 6, 3), (1, 4, 10), 8 * 6 * 4 * 3),
    ],
)  # fmt: skip
def test_a_layers_products_are_outputs_times_weights_of_a_channel(
    layer: nn.Module, shape: tuple[int, ...], macs: int
) -> None:
    assert layer_macs(nn.Sequential(layer), torch.zeros(shape)) == {"0": macs}


class Twice(nn.Module):
    """Calls one layer twice, and multiplies by a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.matrix = nn.Parameter(torch.zeros(4, 4))
        self.scale = nn.Parameter(torch.zeros(4, 1))  # no matrix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x)) @ self.matrix


def test_a_layer_that_is_called_twice_counts_twice_and_what_is_not_counted_is_said() -> None:
    model = Twice()
    costs = deployed_cost(model, torch.zeros(1, 4), {}, {})
    assert costs.macs == 2 * 16
    assert costs.uncounted_layers == 1
    assert deployed_cost(network(), IMAGE, {}, {}).uncounted_layers == 0
    assert all(part.training for part in model.modules()), "as it was"
    assert not model.layer._forward_hooks


@pytest.mark.parametrize(
    ("weight", "activation", "product"), [(1, 1, 1), (4, 4, 16), (1, 32, 32), (32, 4, 128)]
)
def test_bit_operations_are_products_times_the_bits_of_both(
    weight: int, activation: int, product: int
) -> None:
    costs = deployed(weight, activation)
    assert costs["macs"] == RESNET20
    assert costs["bops"] == INNER * product + (FIRST + LAST) * 1024  # 32 x 32, the first and last
    assert costs["uncounted_layers"] == 0
    assert costs["parameters"] == INNER_WEIGHTS + 432 + 650 + 2 * (7 * 16 + 6 * 32 + 6 * 64)


@pytest.mark.parametrize(("weight", "activation"), [(1, 1), (4, 4), (1, 32), (32, 4), (32, 32)])
def test_float_operations_are_two_a_product_where_an_operand_is_float(
    weight: int, activation: int
) -> None:
    whole = max(weight, activation) < 32  # then only the first and last layer compute on floats
    floats = FIRST + LAST + (0 if whole else INNER)
    assert deployed(weight, activation)["flops"] == 2 * floats
    assert 2 * (FIRST + LAST) == 886_016
    assert 2 * RESNET20 == 81_102_080  # "81 MFLOP" of the float network


@pytest.mark.parametrize(("weight", "activation"), [(1, 1), (4, 32), (32, 32)])
def test_bits_are_means_over_weights_and_over_inputs(weight: int, activation: int) -> None:
    costs = deployed(weight, activation)
    floats = 432 + 640  # the first and last layer, without the bias
    mean = (INNER_WEIGHTS * weight + 32 * floats) / (INNER_WEIGHTS + floats)
    assert costs["weight_bits"] == pytest.approx(mean)
    # Inputs: of the first of a stage as many as the stage before makes; of the others, its own.
    inner = 6 * 16 * 1024 + (16 * 1024 + 5 * 32 * 256) + (32 * 256 + 5 * 64 * 64)
    ends = 3 * 1024 + 64
    mean = (inner * activation + 32 * ends) / (inner + ends)
    assert costs["activation_bits"] == pytest.approx(mean)


def test_three_levels_take_two_bits() -> None:
    costs = deployed_cost(network(), IMAGE, {"stage1.0.conv1": 2}, {"stage1.0.conv1": 2})
    one = 32 * 32 * 16 * 16 * 9
    assert costs.bops == (RESNET20 - one) * 1024 + one * 4
    assert costs.flops == 2 * (RESNET20 - one)


@pytest.mark.parametrize("bits", [1, 4])
def test_the_ideal_size_is_the_bits_of_codes_and_four_bytes_a_float(bits: int) -> None:
    assert deployed(bits, 32)["ideal_bytes"] == INNER_WEIGHTS * bits // 8 + 4 * FLOAT_NUMBERS


def test_a_float_network_is_its_own_deployed_form() -> None:
    costs = deployed(32, 32)
    assert costs["bops"] == RESNET20 * 1024
    assert costs["ideal_bytes"] == 4 * (INNER_WEIGHTS + FLOAT_NUMBERS)
