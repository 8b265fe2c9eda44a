"""The deployed network: what is in its file, and that the reloaded one computes the same bits."""

import json
import struct

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from toy_levels import ChannelLevels, Steps, Ternary, network

from qbench.deployment.freeze import deployed_bytes, freeze, save_deployed
from qbench.deployment.load import load_deployed
from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers, set_mode


def images(count=5):
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(7))


def trained(*arguments, **options):
    """A network whose weights, statistics and quantizers are not at their start values."""
    torch.manual_seed(3)
    model = network(*arguments, **options)
    initialize(model, images())
    model.train()(images())  # moves the running statistics
    return model.eval()


def fresh(*arguments, **options):
    torch.manual_seed(4)
    return network(*arguments, **options).eval()


CASES = [
    *[(ChannelLevels, bits, 9 - bits) for bits in range(1, 9)],
    (Ternary, 2, 4),
    (None, 32, 3),  # quantized inputs only
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_reloaded_network_computes_the_same_bits(case, memory_format):
    model = trained(*case).to(memory_format=memory_format)
    x = images().to(memory_format=memory_format)
    set_mode(model, "training")
    soft = model(x)
    set_mode(model, "deployed")
    expected = model(x)
    assert not torch.equal(soft, expected)  # the modes differ, or nothing is tested
    assert not torch.equal(expected[0], expected[1])  # nor are they constant
    other = fresh(*case).to(memory_format=memory_format)
    returned = load_deployed(save_deployed(freeze(model)), other)
    assert returned is other
    assert torch.equal(other(x), expected)
    assert torch.equal(load_deployed(freeze(model), fresh(*case))(images()), expected)


def test_the_reloaded_weight_is_the_decoded_one_without_a_quantizer():
    model, other = trained(Ternary), fresh(Ternary)
    load_deployed(freeze(model), other)
    layers = quantized_layers(model)
    for name, layer in quantized_layers(other).items():
        assert layer.weight_quantizer is None
        assert torch.equal(
            layer.weight, layers[name].weight_quantizer.deployed(layers[name].weight)
        )
        assert layer.weight.unique().numel() <= 3


def test_the_file_holds_codes_codebooks_and_what_stayed_float_and_no_more():
    tensors = freeze(trained(Ternary))
    norms = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"0.weight", *(f"{norm}.{part}" for norm in (1, 4) for part in norms)}
    for layer in (3, 6, 8):
        expected |= {f"{layer}.weight.{part}" for part in ("codes", "codebook", "shape")}
        expected |= {f"{layer}.activation_quantizer.{part}" for part in ("step", "offset")}
        expected.add(f"{layer}.bias")
    assert set(tensors) == expected  # neither latent weights nor Ternary's `scale`
    assert tensors["6.weight.codes"].shape == ((6 * 5 * 2 + 7) // 8,)  # 30 codes of 2 bits
    assert tensors["6.weight.codebook"].shape == (3,)


def test_one_bit_takes_one_bit():
    sizes = {bits: deployed_bytes(freeze(trained(ChannelLevels, bits))) for bits in (1, 2, 8)}
    outputs, weights = 6 + 5 + 3, 6 * 2 * 9 + 5 * 6 + 3 * 80
    packed = {bits: sum(-(-n * bits // 8) for n in (108, 30, 240)) for bits in sizes}
    assert weights == 108 + 30 + 240
    for bits in (2, 8):
        codebooks = outputs * (2**bits - 2) * 4  # float32 levels beyond those of 1 bit
        assert sizes[bits] - sizes[1] == packed[bits] - packed[1] + codebooks


def test_equal_content_gives_equal_bytes():
    tensors = freeze(trained(ChannelLevels))
    backwards = {name: tensors[name].clone() for name in reversed(tensors)}
    assert save_deployed(tensors) == save_deployed(backwards)


def test_the_header_tells_shapes_bits_and_levels():
    data = save_deployed(freeze(trained(Ternary)))
    (length,) = struct.unpack("<Q", data[:8])
    about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["qbench"])
    assert about["format"] == 1
    assert about["layers"]["3"] == {"shape": [6, 2, 3, 3], "bits": 2, "levels": 3}
    assert set(about["layers"]) == {"3", "6", "8"}


def test_frozen_tensors_are_copies():
    model = trained(Ternary)
    tensors = freeze(model)
    before = {name: part.clone() for name, part in tensors.items()}
    with torch.no_grad():
        for part in model.state_dict().values():
            part.zero_()
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_a_float_network_is_its_own_deployed_form():
    torch.manual_seed(0)
    model, other = (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for _ in range(2))
    load_deployed(save_deployed(freeze(model)), other)
    x = torch.randn(2, 4)
    assert torch.equal(model(x), other(x))


def test_a_layer_under_two_names_is_coded_under_both():
    def shared():
        layer = nn.Linear(4, 4)
        model = nn.Sequential(layer, nn.ReLU(), layer)
        quantize(
            model,
            weights=lambda: ChannelLevels(bit_width=2, target="weight"),
            activations=None,
            keep_float=(),
        )
        return model

    torch.manual_seed(0)
    model, other = shared(), shared()
    tensors = freeze(model)
    assert {"0.weight.codes", "2.weight.codes"} <= set(tensors)
    assert "2.weight" not in tensors
    load_deployed(tensors, other)
    set_mode(model, "deployed")
    x = torch.randn(3, 4)
    assert torch.equal(other(x), model(x))


def replaced(name, value):
    def damage(tensors):
        tensors[name] = value(tensors[name])

    return damage


DAMAGES = {
    "1 tensors are missing.*'6.weight.codes'": lambda tensors: tensors.pop("6.weight.codes"),
    "1 are not expected.*'latent'": lambda tensors: tensors.update(latent=torch.zeros(1)),
    "layer '6' has shape": replaced("6.weight.shape", lambda _: torch.tensor([6, 5, 1, 1])),
    "codes of layer '6' are 7 values": replaced("6.weight.codes", lambda codes: codes[:-1]),
    "go up to 3, its codebook has 3": replaced("6.weight.codes", lambda codes: codes | 255),
    "codebook of layer '6' is": replaced("6.weight.codebook", lambda book: book.repeat(4, 1)),
    "codebook of layer '6' is .*float64": replaced("6.weight.codebook", lambda book: book.double()),
    "'8.bias' is": replaced("8.bias", lambda bias: bias[:-1]),
    "'1.running_var' is": replaced("1.running_var", lambda part: part.double()),
}


@pytest.mark.parametrize("sentence", DAMAGES)
def test_a_wrong_file_is_refused_before_anything_changes(sentence):
    tensors = freeze(trained(Ternary))
    DAMAGES[sentence](tensors)
    other = fresh(Ternary)
    before = {name: part.clone() for name, part in other.state_dict().items()}
    with pytest.raises(ValueError, match=sentence) as caught:
        load_deployed(tensors, other)
    assert "\n" not in str(caught.value)
    after = other.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_bytes_that_are_no_deployed_network_are_refused():
    data = save_deployed(freeze(trained(Ternary)))
    plain = save(load(data))  # without qbench's metadata
    later = save(load(data), metadata={"qbench": '{"format": 2}'})
    listed = save(load(data), metadata={"qbench": "[1]"})
    for wrong in (b"", b"short", data[:-1], data[:40], b"\xff" * 64, plain, listed):
        with pytest.raises(ValueError, match="cannot be read"):
            load_deployed(wrong, fresh(Ternary))
    with pytest.raises(ValueError, match="format 2, this qbench reads 1"):
        load_deployed(later, fresh(Ternary))


@pytest.mark.parametrize(
    ("codes", "codebook", "sentence"),
    [
        (torch.tensor([[0, 2]]), torch.zeros(2), "codes from 0 to 2; its codebook has 2 levels"),
        (torch.tensor([[-1, 0]]), torch.zeros(2), "codes from -1 to 0"),
        (torch.tensor([0, 1]), torch.zeros(2), r"returned codes \(2,\)"),
        (torch.tensor([[0.0, 1.0]]), torch.zeros(2), "of type torch.float32"),
        (torch.tensor([[0, 1]]), torch.zeros(3, 2), r"\[levels\] or \[1, levels\]"),
        (torch.tensor([[0, 1]]), torch.tensor(1.0), r"a codebook \(\)"),
        (torch.tensor([[0, 1]]), torch.zeros(2).double(), "torch.float64"),
    ],
)
def test_codes_that_a_codebook_does_not_have_are_refused(codes, codebook, sentence):
    class Wrong(Steps):
        def codes(self, x):
            return codes, codebook

    model = nn.Sequential(nn.Linear(2, 1))
    quantize(
        model,
        weights=lambda: Wrong(bit_width=1, target="weight"),
        activations=None,
        keep_float=(),
    )
    with pytest.raises(ValueError, match=sentence):
        freeze(model)
