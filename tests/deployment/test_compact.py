"""The small file: as small as promised, and the same network again, bit for bit."""

import json

import pytest
import torch
from safetensors.torch import load, save
from small_networks import deployed, every_case, fresh, images, named
from torch import nn

from qbench.deployment.compact import compact, read_compact, restore, save_compact
from qbench.deployment.fold import find_folds
from qbench.deployment.freeze import freeze
from qbench.deployment.load import load_deployed
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers
from qbench.registry import quantizers
from qbench.study.schema import Component

CASE = ("lsq", "ste", 4, 4)
# Of ResNet-20 for 10 classes; test_cost.py works them out by hand.
WEIGHTS, FLOATS, CHANNELS = 267_264, 432 + 650 + 4 * (7 * 16 + 6 * 32 + 6 * 64), 6 * (16 + 32 + 64)


@pytest.mark.parametrize("case", named(every_case()))
@torch.no_grad()
def test_the_reloaded_network_computes_the_same_bits(case: tuple) -> None:
    tensors, model = deployed(case)
    expected = model(images())
    data = save_compact(compact(tensors, {}))
    again = restore(read_compact(data), fresh(case, shift=2)).eval()
    assert torch.equal(again(images()), expected)
    channels_last = again.to(memory_format=torch.channels_last)
    reference = model.to(memory_format=torch.channels_last)
    assert torch.equal(channels_last(images()), reference(images()))


@pytest.mark.parametrize("case", [CASE, ("ste", "ste", 1, 32), ("apot", "ste", 4, 32)], ids=str)
@torch.no_grad()
def test_a_folded_network_has_no_norms_and_the_same_codes(case: tuple) -> None:
    tensors, model = deployed(case)
    network = compact(tensors, find_folds(model, images(2)))
    assert network.folded == {"0": "1", "3": "4", "7": "8"}
    assert not any(name.split(".")[0] in ("1", "4", "8") for name in network.kept)
    kept = compact(tensors, {})
    assert all(torch.equal(network.coded[name][0], kept.coded[name][0]) for name in kept.coded)
    again = restore(read_compact(save_compact(network)), fresh(case, shift=2)).eval()
    assert not any(isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) for part in again.modules())
    found, expected = again(images()), model(images())
    error = (found - expected).abs().amax(1) / expected.abs().max()
    # 2 * 108 + 16 roundings of 2^-24 a layer, and three layers, are 5e-5; but a code may move.
    assert int((error > 1e-4).sum()) <= 2
    assert len(save_compact(network)) < len(save_compact(kept))


def resnet20(method: str, weight: int, activation: int) -> nn.Module:
    torch.manual_seed(0)
    kind = quantizers.load(method)
    model = build_model(Component(name="resnet20"), channels=3, classes=10, size=32)
    made = {
        target: (lambda target=target, bits=bits: kind(bit_width=bits, target=target))
        if bits < 32 else None
        for target, bits in (("weight", weight), ("activation", activation))
    }  # fmt: skip
    quantize(model, weights=made["weight"], activations=made["activation"],
             keep_float=("first", "last", "shortcut"))  # fmt: skip
    initialize(model, torch.randn(2, 3, 32, 32))
    return model


@pytest.mark.parametrize(
    ("method", "weight", "activation", "numbers"),
    [
        ("ste", 1, 32, CHANNELS),  # a scale a channel
        ("ste", 1, 1, CHANNELS + 18 * 2),  # and the input's clip and sign
        ("lsq", 4, 4, 18 * (1 + 3)),  # of 18 layers: a step; its input's step and two limits
        ("ste", 8, 8, 2 * CHANNELS + 18 * 2),  # low and step; its input's clip and sign
        ("dorefa", 2, 2, 18 * 2),
    ],
)
def test_the_file_is_within_two_percent_of_its_bits(
    method: str, weight: int, activation: int, numbers: int
) -> None:
    data = save_compact(compact(freeze(resnet20(method, weight, activation)), {}))
    ideal = WEIGHTS * weight // 8 + 4 * (FLOATS + numbers)
    assert ideal <= len(data) <= 1.02 * ideal


def test_the_file_has_few_tensors_and_one_bit_takes_one_bit() -> None:
    tensors, _ = deployed(("ste", "ste", 1, 32))
    stored = load(save_compact(compact(tensors, {})))
    assert set(stored) == {"codes", "floats", "index"}
    assert stored["codes"].numel() == 12 * 8 * 9 // 8 + 16 * 192 // 8
    numbers = 8 * 27 + 5 * 16 + 5 + 16 + 4 * (8 + 12 + 16)  # first, last, biases, batch norms
    assert stored["floats"].numel() == numbers + 12 + 16  # and a scale a channel


def test_equal_networks_give_equal_bytes() -> None:
    tensors, _ = deployed(CASE)
    backwards = {name: tensors[name].clone() for name in reversed(tensors)}
    assert save_compact(compact(tensors, {})) == save_compact(compact(backwards, {}))


def test_a_float_network_can_be_taken_away_too() -> None:
    torch.manual_seed(0)
    model, other = (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval() for _ in range(2))
    restore(read_compact(save_compact(compact(freeze(model), {}))), other)
    x = torch.randn(2, 4)
    assert torch.equal(model(x), other(x))


def damaged(name: str, value: torch.Tensor) -> bytes:
    tensors, _ = deployed(CASE)
    stored = load(save_compact(compact(tensors, {})))
    return save(stored | {name: value}, metadata={"qbench_compact": "1"})


def test_a_damaged_file_is_one_sentence() -> None:
    tensors, _ = deployed(CASE)
    data = save_compact(compact(tensors, {}))
    later = save(load(data), metadata={"qbench_compact": "2"})
    wrong = [
        b"", data[:-1], b"\xff" * 64, save(load(data)), later,
        damaged("codes", torch.zeros(7, dtype=torch.uint8)),
        damaged("floats", torch.zeros(7)),
        damaged("index", torch.zeros(7, dtype=torch.uint8)),
    ]  # fmt: skip
    for bytes_ in wrong:
        with pytest.raises(ValueError, match="cannot be read") as caught:
            read_compact(bytes_)
        assert "\n" not in str(caught.value)


def test_another_network_is_refused() -> None:
    tensors, model = deployed(CASE)
    network = read_compact(save_compact(compact(tensors, {})))
    with pytest.raises(ValueError, match="belongs to another network"):
        restore(network, fresh(("lsq", "ste", 4, 32)))
    folded = compact(tensors, find_folds(model, images(2)))
    with pytest.raises(ValueError, match="belongs to another one"):
        restore(folded, nn.Sequential(nn.Linear(3, 2)))


def test_the_old_reader_takes_the_restored_tensors() -> None:
    """Both files of a trial hold one network."""
    tensors, model = deployed(CASE)
    again = restore(read_compact(save_compact(compact(tensors, {}))), fresh(CASE, shift=2))
    direct = load_deployed(tensors, fresh(CASE, shift=3))
    for name, layer in quantized_layers(again).items():
        assert torch.equal(layer.weight, direct.get_submodule(name).weight)
    assert json.dumps(sorted(again.state_dict())) == json.dumps(sorted(direct.state_dict()))
