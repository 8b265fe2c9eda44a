"""The laws of the contract, for every registered quantizer, target and bit-width."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from qbench.quantizers.contract import Progress, Quantizer, decode
from qbench.registry import quantizers

CASES = [
    (name, target, bits)
    for name, entry in quantizers.entries().items()
    for target, widths in entry.facts["bits"].items()
    for bits in widths
    if bits != 32  # float has no codes to speak of
]


def case(name: str, target: str, bits: int) -> Any:
    """The bit-widths between a method's lowest, 4 and its highest are a matter for the slow run."""
    widths = quantizers.entry(name).facts["bits"][target]
    marks = [] if bits in (widths[0], 4, widths[-1]) else [pytest.mark.slow]
    return pytest.param(name, target, bits, marks=marks, id=f"{name}-{target}-{bits}")


every_case = pytest.mark.parametrize(("name", "target", "bits"), [case(*one) for one in CASES])


def latent(target: str, seed: int = 0, *, signed: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if target == "weight":
        return torch.randn(8, 4, 3, 3, generator=generator) * 0.1
    inputs = torch.randn(6, 4, 5, 5, generator=generator)
    return inputs if signed else inputs.relu()  # a layer's input after a ReLU


def make(name: str, target: str, bits: int, seed: int = 0) -> tuple[Quantizer, nn.Conv2d]:
    """A quantizer in a layer, initialized as training does it."""
    torch.manual_seed(seed)
    layer = nn.Conv2d(4, 8, 3)
    kind: type[Quantizer] = quantizers.load(name)
    quantizer = kind(bit_width=bits, target=target)
    layer.weight_quantizer = quantizer if target == "weight" else None
    layer.activation_quantizer = quantizer if target == "activation" else None
    kind.connect([quantizer])
    inputs = latent("activation", seed, signed=kind.signed_inputs)
    with torch.no_grad():
        layer.weight.copy_(latent("weight", seed))
        quantizer.initialize(layer.weight if target == "weight" else inputs, layer, inputs)
    return quantizer, layer


def probe(layer: nn.Conv2d, target: str) -> torch.Tensor:
    if target == "weight":
        return layer.weight
    return latent("activation", seed=1, signed=layer.activation_quantizer.signed_inputs)


def at(fraction: float) -> Progress:
    step = round(1000 * fraction)
    epoch = min(step // 10, 99) if step < 1000 else 100
    return Progress(step, 1000, epoch, 100, learning_rate=0.1)


@every_case
def test_deployed_is_the_codebook_at_the_codes(name: str, target: str, bits: int) -> None:
    quantizer, layer = make(name, target, bits)
    x = probe(layer, target)
    codes, codebook = quantizer.codes(x)
    assert codes.dtype == torch.int64
    assert codes.shape == x.shape
    assert int(codes.min()) >= 0
    assert int(codes.max()) < quantizer.levels
    assert codebook.shape[-1] == quantizer.levels
    assert codebook.dtype == torch.float32
    axis = 0 if target == "weight" else 1
    rows = codebook if codebook.ndim == 2 else codebook.expand(x.shape[axis], -1)
    for channel, row in enumerate(rows):  # the slow reading of the definition
        expected = row[codes.select(axis, channel)]
        assert torch.equal(quantizer.deployed(x).select(axis, channel), expected)
    assert torch.equal(decode(codes, codebook, axis), quantizer.deployed(x))
    again, again_book = quantizer.codes(x)
    assert torch.equal(codes, again)
    assert torch.equal(codebook, again_book)


@every_case
def test_levels_can_all_be_stored_in_the_declared_bits(name: str, target: str, bits: int) -> None:
    quantizer, _ = make(name, target, bits)
    assert 2 <= quantizer.levels <= 2**bits


@every_case
@pytest.mark.parametrize("kind", ["ordinary", "zero", "constant", "huge", "levels", "tiny"])
def test_values_and_gradients_are_finite(name: str, target: str, bits: int, kind: str) -> None:
    quantizer, layer = make(name, target, bits)
    x = probe(layer, target).detach().clone()
    if kind == "levels":
        x = quantizer.deployed(x).detach().clone()
    elif kind != "ordinary":
        x = {"zero": x * 0, "constant": x * 0 + 0.3, "huge": x * 1e6, "tiny": x * 1e-12}[kind]
    x.requires_grad_()
    value = quantizer(x)
    assert value.shape == x.shape
    value.square().sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(quantizer.deployed(x)).all()
    for parameter in quantizer.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@every_case
def test_hard_forwards_equal_the_deployed_value(name: str, target: str, bits: int) -> None:
    quantizer, layer = make(name, target, bits)
    x = probe(layer, target)
    quantizer.set_progress(at(0.3))
    same = torch.equal(quantizer(x), quantizer.deployed(x))
    assert same or not quantizer.trains_hard
    quantizer.set_progress(Progress.end())
    assert torch.equal(quantizer(x), quantizer.deployed(x)) or not quantizer.exact_at_end


@every_case
def test_state_reproduces_the_deployed_value(name: str, target: str, bits: int) -> None:
    quantizer, layer = make(name, target, bits)
    other, _ = make(name, target, bits, seed=5)
    x = probe(layer, target)
    quantizer.set_progress(at(0.7))
    other.set_progress(at(0.7))
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other.deployed(x), quantizer.deployed(x))


@every_case
def test_schedules_jump_as_they_walk(name: str, target: str, bits: int) -> None:
    walking, layer = make(name, target, bits)
    jumping = copy.deepcopy(walking)
    for fraction in (0.0, 0.1, 0.3, 0.5, 0.7):
        walking.set_progress(at(fraction))
    jumping.set_progress(at(0.7))
    x = probe(layer, target)
    torch.manual_seed(0)
    walked = walking(x)
    torch.manual_seed(0)
    assert torch.equal(walked, jumping(x))


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_forward_without_gradients_changes_no_state(
    name: str, target: str, bits: int, training: bool
) -> None:
    quantizer, layer = make(name, target, bits)
    quantizer.train(training)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    with torch.no_grad():
        quantizer(probe(layer, target))
        quantizer.codes(probe(layer, target))
    for key, value in quantizer.state_dict().items():
        assert torch.equal(before[key], value), key
    copy.deepcopy(quantizer)  # a graph kept as an attribute makes this fail


@every_case
def test_a_step_never_waits_for_the_device(name: str, target: str, bits: int) -> None:
    """On the meta device a read of a value, or a Python ``if`` on a tensor, raises."""
    quantizer, layer = make(name, target, bits)
    quantizer.set_progress(at(0.5))
    quantizer.to("meta")
    weight = nn.Parameter(torch.empty(8, 4, 3, 3, device="meta"))
    x = weight if target == "weight" else torch.empty(6, 4, 5, 5, device="meta", requires_grad=True)
    quantizer.set_progress(at(0.6))
    quantizer(x).sum().backward()
    if target == "weight":
        quantizer.after_backward(weight)
        quantizer.after_step(weight)


@every_case
def test_memory_format_does_not_matter(name: str, target: str, bits: int) -> None:
    quantizer, layer = make(name, target, bits)
    x = probe(layer, target).detach()
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(quantizer.codes(x)[0], quantizer.codes(last)[0])


def test_bits_and_targets_are_declared_for_every_method() -> None:
    for entry in quantizers.entries().values():
        assert set(entry.facts["bits"]) <= {"weight", "activation"}
        assert entry.summary
        for widths in entry.facts["bits"].values():
            assert list(widths) == sorted(set(widths))


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES}))
def test_declared_facts_are_those_of_the_class(name: str) -> None:
    kind = quantizers.load(name)
    entry = quantizers.entry(name)
    assert kind.bits == entry.facts["bits"]
    assert issubclass(kind, Quantizer)


@every_case
def test_initialize_reaches_the_parameter_itself(name: str, target: str, bits: int) -> None:
    quantizer, layer = make(name, target, bits)
    identity = id(layer.weight)
    with torch.no_grad():
        quantizer.initialize(probe(layer, target), layer, latent("activation"))
    assert id(layer.weight) == identity
    assert isinstance(layer.weight, nn.Parameter)


def test_the_cases_cover_what_is_shipped() -> None:
    shipped = {"ste", "dorefa", "lsq"}
    assert shipped <= {name for name, _, _ in CASES}
    assert len(set(itertools.product(["ste"], ["weight"], range(1, 9))) & set(CASES)) == 8


@pytest.mark.parametrize("missing", ["forward", "codes"])
def test_a_method_that_lacks_what_it_owes_is_refused_before_it_trains(missing: str) -> None:
    owed = {"forward": lambda self, x: x, "codes": lambda self, x: (x.long(), x)}
    del owed[missing]
    with pytest.raises(TypeError, match=missing):
        type("Lacking", (Quantizer,), owed)(bit_width=1, target="weight")
