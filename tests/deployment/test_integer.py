"""A layer on integers is the deployed layer, for every method whose levels are even."""

import numpy as np
import pytest
import torch
from small_networks import METHODS, at_the_ends, every_case, fresh, images, trained
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from qbench.deployment.integer import integer_form, integer_layer, popcount_layer
from qbench.deployment.levels import uniform_grid
from qbench.models.convert import initialize, quantize
from qbench.models.layers import QuantLayer, quantized_layers
from qbench.quantizers.contract import Quantizer, decode
from qbench.quantizers.ste import STE

UNEVEN = {"apot", "binaryrelax", "lqnets", "parq", "proxquant", "quantization_networks", "ttq"}
"""Methods with other levels at some width; a method that is not here must have even ones."""


def layers_and_inputs(case: tuple) -> list[tuple[QuantLayer, Tensor]]:
    model = trained(case)
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
        for name, layer in quantized_layers(model).items()
    ]
    with torch.no_grad():
        model(images(8))
    for hook in hooks:
        hook.remove()
    return [(layer, seen[name]) for name, layer in quantized_layers(model).items()]


def in_float64(layer: QuantLayer, x: Tensor) -> Tensor:
    """The deployed layer with its float32 weights and inputs, in float64."""
    weight, value = layer.quantized_weight().double(), layer.quantized_input(x).double()
    bias = None if layer.bias is None else layer.bias.double()
    if isinstance(layer, nn.Conv2d):
        padded = nn.functional.pad(value, layer._reversed_padding_repeated_twice)
        return conv2d(padded, weight, bias, layer.stride, 0, layer.dilation, layer.groups)
    return linear(value, weight, bias)


def bound(layer: QuantLayer, x: Tensor) -> float:
    """What the module derives, with the distances from the even grids as they are."""
    weight, value = layer.quantized_weight().double(), layer.quantized_input(x).double()
    forms = [
        integer_form(*layer.weight_quantizer.codes(layer.weight), axis=0),
        integer_form(*layer.activation_quantizer.codes(x), axis=1),
    ]
    off = [float((form.values - own).abs().max())
           for form, own in zip(forms, (weight, value), strict=True)]  # fmt: skip
    count, most = layer.weight[0].numel(), [float(own.abs().max()) for own in (weight, value)]
    rounding = 8 * count * 2**-53 * most[0] * most[1]
    bias = 0.0 if layer.bias is None else 2**-52 * float(layer.bias.abs().max())
    return count * (off[0] * most[1] + most[0] * off[1] + off[0] * off[1]) + rounding + bias


@pytest.mark.parametrize("case", at_the_ends(every_case()))
@torch.no_grad()
def test_integer_sums_give_the_deployed_layer(case: tuple) -> None:
    for layer, x in layers_and_inputs(case):
        found = integer_layer(layer, x)
        if found is None:
            assert {case[0], case[1]} & UNEVEN
            continue
        error = float((found - in_float64(layer, x)).abs().max())
        assert error <= bound(layer, x)
        # The float32 layer: n + 1 roundings of 2^-24 of the sum of |w x|, beside that.
        weight, value = layer.quantized_weight(), layer.quantized_input(x)
        count = layer.weight[0].numel() + 1
        most = count * float(weight.abs().max() * value.abs().max())
        assert float((found - layer(x)).abs().max()) <= bound(layer, x) + count * 2**-24 * most


OTHER_TWO = ("adabin", "dsq")  # their two levels are not -s and s
SIGNS = [
    (name, "bireal")
    for name, entry in METHODS.items()
    if 1 in entry.facts["bits"].get("weight", ()) and name not in OTHER_TWO
] + [
    ("bwn", name)
    for name, entry in METHODS.items()
    if entry.facts.get("signed_inputs") and name not in OTHER_TWO
]


@pytest.mark.parametrize("case", SIGNS, ids=lambda case: "+".join(case))
@torch.no_grad()
def test_xnor_and_counting_bits_give_the_deployed_layer(case: tuple[str, str]) -> None:
    for layer, x in layers_and_inputs((*case, 1, 1)):
        found = popcount_layer(layer, x)
        assert found is not None
        assert torch.equal(found, integer_layer(layer, x))  # the same integers, the same scales
        assert float((found - in_float64(layer, x)).abs().max()) <= bound(layer, x)


class Offset(STE):
    """Even levels of which none is 0, nor midway between two."""

    def codes(self, x):
        codes, codebook = super().codes(x)
        return codes, codebook + 0.013


def layer_of(kind: type[Quantizer], bits: int, **options: object) -> tuple[QuantLayer, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 9, 3, padding=1, **options))
    quantize(
        model,
        weights=lambda: kind(bit_width=bits, target="weight"),
        activations=lambda: kind(bit_width=bits, target="activation"),
        keep_float=(),
    )
    x = torch.randn(3, 6, 7, 7)
    initialize(model, x)
    layer = model[0]
    layer.mode = "deployed"
    return layer, x


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"dilation": 2}, {"groups": 3}, {"padding_mode": "circular"},
     {"padding_mode": "reflect", "bias": False}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("kind", [STE, Offset])
@torch.no_grad()
def test_offsets_padding_strides_and_groups(kind: type[Quantizer], options: dict) -> None:
    layer, x = layer_of(kind, 3, **options)
    form = integer_form(*layer.weight_quantizer.codes(layer.weight), axis=0)
    assert form.centred == (kind is STE)
    if options.get("padding_mode", "zeros") == "zeros":
        expected = in_float64(layer, x)
    else:
        double = nn.Conv2d(6, 9, 3, padding=1, **options).double()
        double.weight.data = layer.quantized_weight().double()
        if layer.bias is not None:
            double.bias.data = layer.bias.double()
        expected = double(layer.quantized_input(x).double())
    assert float((integer_layer(layer, x) - expected).abs().max()) <= 4 * bound(layer, x)


@torch.no_grad()
def test_one_bit_layers_count_agreeing_signs_by_hand() -> None:
    layer, x = layer_of(STE, 1)
    scale = float(layer.activation_quantizer.high)
    signs, own = x.sign(), layer.weight.sign()
    patch = nn.functional.pad(signs, (1, 1, 1, 1))[0, :, 0:3, 0:3]  # the corner, with padding
    agree = int((patch == own[4]).sum())
    inside = 6 * 4  # of nine places five are padding
    expected = scale * float(layer.weight[4].abs().mean()) * (2 * agree - inside)
    found = float(popcount_layer(layer, x)[0, 4, 0, 0] - layer.bias[4])
    assert found == pytest.approx(expected, rel=1e-6)  # the scales are float32 here


def test_a_bit_more_or_less_is_seen() -> None:
    layer, x = layer_of(STE, 1)
    before = popcount_layer(layer, x)
    layer.weight.data[0, 0, 1, 1] *= -1  # the mean |w| stays
    assert np.count_nonzero((popcount_layer(layer, x) != before)[:, 0]) == 3 * 49
    assert torch.equal(popcount_layer(layer, x)[:, 1:], before[:, 1:])


def test_uneven_levels_and_other_inputs_are_left() -> None:
    class Powers(STE):
        def codes(self, x):
            codes, _ = super().codes(x)
            return codes, torch.tensor([-1.0, -0.25, 0.25, 1.0])

    layer, x = layer_of(Powers, 2)
    assert uniform_grid(torch.tensor([-1.0, -0.25, 0.25, 1.0])) is None
    assert integer_layer(layer, x) is None
    assert popcount_layer(*layer_of(STE, 2)) is None
    model = fresh(("lsq", "lsq", 2, 32))
    with pytest.raises(ValueError, match="both quantizers"):
        integer_layer(model[3], torch.randn(1, 8, 4, 4))


def test_codes_stand_for_their_values() -> None:
    codes = torch.tensor([[0, 1, 2], [2, 1, 0]])
    codebook = torch.tensor([[-0.5, 0.0, 0.5], [-2.0, 0.0, 2.0]])
    form = integer_form(codes, codebook, axis=0)
    assert form.whole.tolist() == [[-1, 0, 1], [1, 0, -1]]
    assert torch.equal(form.values.float(), decode(codes, codebook))
