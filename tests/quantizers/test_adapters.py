"""The adapters to torchao and Brevitas: the library's own numbers, under the laws of the contract.

What needs a library is skipped where it is not installed.
"""

import importlib.util
import inspect
import itertools
import sys
from typing import Any

import pytest
import test_laws as laws
import torch
from torch import nn

from qbench.deployment.freeze import freeze, save_deployed
from qbench.deployment.load import load_deployed
from qbench.errors import UsageError
from qbench.models.convert import initialize, quantize
from qbench.models.evaluation import evaluating
from qbench.quantizers.contract import Quantizer
from qbench.registry import quantizers

FAMILIES = {name: quantizers.entry(f"{name}/*") for name in ("torchao", "brevitas")}
ALL = [
    (f"{family}/{member}", target, bits)
    for family, entry in FAMILIES.items()
    for member, targets in entry.facts["members"].items()
    for target, widths in targets.items()
    for bits in widths
]
NAMED = [
    pytest.param(
        *case,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(case[0].partition("/")[0]) is None,
            reason=f"{case[0].partition('/')[0]} is not installed; it is an optional extra",
        ),
    )
    for case in ALL
]
every_case = pytest.mark.parametrize(("name", "target", "bits"), NAMED)
LAWS = [
    law
    for name, law in vars(laws).items()
    if name.startswith("test_")
    and {"name", "target", "bits"} <= set(inspect.signature(law).parameters)
]
WEIGHTS = [case for case in NAMED if case.values[1] == "weight"]


@every_case
def test_the_laws_hold_for_every_member(name: str, target: str, bits: int) -> None:
    more: dict[str, tuple[Any, ...]] = {
        "kind": ("ordinary", "zero", "constant", "huge", "levels", "tiny"),
        "training": (True, False),
    }
    assert LAWS
    for law in LAWS:
        keys = [key for key in more if key in inspect.signature(law).parameters]
        for values in itertools.product(*(more[key] for key in keys)):
            law(name, target, bits, **dict(zip(keys, values, strict=True)))


def linear(name: str, bits: int) -> nn.Linear:
    """A quantized linear layer of 6 outputs and 32 inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 6, bias=False))
    kind = quantizers.load(name)
    quantize(
        model,
        weights=lambda: kind(bit_width=bits, target="weight"),
        activations=None,
        keep_float=(),
    )
    initialize(model, torch.randn(4, 32))
    return model[0]


def torchao_layer(name: str, bits: int) -> nn.Module:
    from torchao.quantization.qat import IntxFakeQuantizeConfig, fake_quantize_config
    from torchao.quantization.qat.fake_quantizer import IntxFakeQuantizer
    from torchao.quantization.qat.linear import FakeQuantizedLinear

    learns = name.endswith("range_learning")
    config: Any = IntxFakeQuantizeConfig(
        getattr(torch, f"int{bits}"), "per_channel", is_dynamic=not learns, range_learning=learns
    )
    if name.endswith("int4_weight"):
        config = fake_quantize_config.Int4WeightFakeQuantizeConfig(32, torch.bfloat16)
    layer = FakeQuantizedLinear(32, 6, bias=False, weight_config=config)
    if isinstance(layer.weight_fake_quantizer, IntxFakeQuantizer):
        layer.weight_fake_quantizer._initialized = True  # what the library's own start sets
    return layer


def brevitas_layer(name: str, bits: int) -> nn.Module:
    import brevitas.quant
    from brevitas.nn import QuantLinear

    kind = getattr(brevitas.quant, name.partition("/")[2])
    widths = {} if name.endswith("Const") else {"weight_bit_width": bits}
    return QuantLinear(32, 6, bias=False, weight_quant=kind, **widths)


@pytest.mark.parametrize(("name", "target", "bits"), WEIGHTS)
def test_training_is_that_of_the_librarys_own_layer(name: str, target: str, bits: int) -> None:
    """Value, gradient and latents of some steps, bit for bit."""
    ours = linear(name, bits)
    make = torchao_layer if name.startswith("torchao") else brevitas_layer
    theirs = make(name, bits)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        x = torch.randn(8, 32, generator=generator)
        outputs = []
        for layer in (ours, theirs):
            layer.weight.grad = None
            output = layer(x)
            output = output if isinstance(output, torch.Tensor) else output.value
            output.square().mean().backward()
            outputs.append(output.detach())
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-5, atol=1e-7)
        for layer in (ours, theirs):
            with torch.no_grad():
                layer.weight -= 0.05 * layer.weight.grad
        ours.weight_quantizer.after_step(ours.weight)


@every_case
def test_a_member_trains_what_its_name_says(name: str, target: str, bits: int) -> None:
    quantizer, _ = laws.make(name, target, bits)
    trained = sum(part.numel() for part in quantizer.parameters())
    if name.endswith("range_learning"):
        assert trained == (8 if target == "weight" else 1)  # a scale a channel, or one
    elif target == "activation" and name.startswith("brevitas") and not name.endswith("Const"):
        assert trained == (2 if "Shifted" in name else 1)  # a scale, and a zero point
    else:
        assert not trained


def test_static_activations_cover_their_first_batch() -> None:
    pytest.importorskip("torchao", reason="torchao is not installed; it is an optional extra")
    quantizer, layer = laws.make("torchao/intx_symmetric", "activation", 4)
    x = laws.latent("activation", seed=0)
    codes, codebook = quantizer.codes(x)
    step = (codebook[1] - codebook[0]).item()
    assert codebook[0].item() == 0  # after a ReLU nothing is spent below 0
    assert (quantizer.deployed(x) - x).abs().max().item() <= step / 2 * 1.0001  # float32
    assert codebook[-1].item() == pytest.approx(x.max().item())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_missing_library_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # so that its import fails as if it were missing
    member, targets = next(iter(FAMILIES[name].facts["members"].items()))
    kind = quantizers.load(f"{name}/{member}")
    with pytest.raises(UsageError, match=rf"{name} is not installed.*qbench-harness\[{name}\]"):
        kind(bit_width=targets["weight"][0], target="weight").initialize(
            torch.ones(2, 3), nn.Linear(3, 2), torch.ones(1, 3)
        )


def test_members_are_classes_of_their_own() -> None:
    one = quantizers.load("torchao/intx_symmetric")
    assert one is quantizers.load("torchao/intx_symmetric")
    assert one is not quantizers.load("torchao/int4_weight")
    assert issubclass(one, Quantizer)
    assert one.bits == quantizers.entry("torchao/intx_symmetric").facts["bits"]


def test_an_unknown_member_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'torchao/intx_symmetric'"):
        quantizers.entry("torchao/intx_symetric")
    with pytest.raises(UsageError, match="allowed: .*torchao/int4_weight"):
        quantizers.entry("torchao")


def pair(weights: str, activations: str, bits: int) -> nn.Sequential:
    """A perceptron with one member for the weights and one for the activations."""
    made = {target: quantizers.load(name) for target, name in
            (("weight", weights), ("activation", activations))}  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Hardtanh(), nn.Linear(16, 8), nn.Hardtanh(),
                          nn.Linear(8, 3))  # fmt: skip
    quantize(
        model,
        weights=lambda: made["weight"](bit_width=bits, target="weight"),
        activations=lambda: made["activation"](bit_width=bits, target="activation"),
        keep_float=("first",),
    )
    return model


@pytest.mark.parametrize(
    ("weights", "activations", "bits"),
    [
        ("torchao/intx_symmetric", "torchao/intx_symmetric", 4),
        ("torchao/intx_range_learning", "torchao/intx_range_learning", 2),
        ("brevitas/Int8WeightPerChannelFloat", "brevitas/Int8ActPerTensorFloat", 3),
        ("brevitas/ShiftedUint8WeightPerTensorFloat", "brevitas/ShiftedUint8ActPerTensorFloat", 4),
        ("brevitas/SignedBinaryWeightPerTensorConst", "brevitas/SignedBinaryActPerTensorConst", 1),
    ],
)
def test_a_deployed_network_is_read_back_into_a_fresh_one(
    weights: str, activations: str, bits: int
) -> None:
    root = weights.partition("/")[0]
    pytest.importorskip(root, reason=f"{root} is not installed; it is an optional extra")
    images = torch.randn(16, 12, generator=torch.Generator().manual_seed(1))
    model = pair(weights, activations, bits)
    initialize(model, images)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
    again = load_deployed(save_deployed(freeze(model)), pair(weights, activations, bits))
    with evaluating(model, "deployed"), evaluating(again, "deployed"):
        assert torch.equal(model(images), again(images))
    with evaluating(model, "training"):
        trained = model(images)
    with evaluating(model, "deployed"):
        assert torch.equal(model(images), trained)
