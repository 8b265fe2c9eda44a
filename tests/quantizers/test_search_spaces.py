"""What every quantizer declares for tuning and for ablations, as a law over the registry."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from qbench.quantizers.contract import Progress, Quantizer
from qbench.registry import Entry, quantizers

ENTRIES = quantizers.entries()
SPACES = [
    pytest.param(entry, option, space, id=f"{entry.name}-{option}")
    for entry in ENTRIES.values()
    for option, space in entry.facts.get("search", {}).items()
]
COMPONENTS = [
    pytest.param(entry, removal, id=f"{entry.name}-{component}")
    for entry in ENTRIES.values()
    for component, removal in entry.facts.get("components", {}).items()
]


def widths(entry: Entry) -> Iterator[tuple[str, int]]:
    for target, bits in entry.facts["bits"].items():
        yield from ((target, bit_width) for bit_width in bits)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_declared_is_what_the_class_has(name: str) -> None:
    """A subclass says itself what it has: its options are not those of its base."""
    kind = quantizers.load(name)
    assert ENTRIES[name].facts.get("search", {}) == kind.search
    assert ENTRIES[name].facts.get("components", {}) == kind.components
    assert len(kind.search) <= 3  # a method with many knobs would need more trials than others


@pytest.mark.parametrize(("entry", "option", "space"), SPACES)
def test_a_space_holds_the_default_and_only_what_is_accepted(
    entry: Entry, option: str, space: Any
) -> None:
    _, default = entry.options[option]
    if isinstance(space, list):
        values = space
        assert default in values
        assert len(values) > 1
        assert len({repr(value) for value in values}) == len(values)
    else:
        assert set(space) <= {"low", "high", "log"}
        values = [space["low"], space["high"]]
        assert space["low"] < space["high"]
        assert space["low"] <= default <= space["high"]
        assert {type(value) for value in values} == {type(default)}
        assert space["low"] > 0 or not space.get("log")
    kind = quantizers.load(entry.name)
    for value in values:
        entry.check_options({option: value})
        for target, bits in widths(entry):
            kind(bit_width=bits, target=target, **{option: value})


def test_corners_of_spaces_are_accepted_together() -> None:
    for entry in ENTRIES.values():
        spaces = entry.facts.get("search", {})
        ends = [
            space if isinstance(space, list) else [space["low"], space["high"]]
            for space in spaces.values()
        ]
        target, bits = next(widths(entry), ("weight", 1))
        for corner in itertools.product(*ends) if ends else ():
            options = dict(zip(spaces, corner, strict=True))
            quantizers.load(entry.name)(bit_width=bits, target=target, **options)


def test_most_methods_can_be_tuned() -> None:
    assert len(SPACES) >= 30
    assert {one.values[0].name for one in SPACES} >= {"daq", "ewgs", "metaquant", "quantnet"}


def trace(entry: Entry, target: str, bits: int, options: dict[str, Any]) -> list[torch.Tensor]:
    """What a method does in two steps of a layer: its start, values, gradients and weights."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3)
    kind: type[Quantizer] = quantizers.load(entry.name)
    quantizer = kind(bit_width=bits, target=target, **options)
    layer.weight_quantizer = quantizer if target == "weight" else None
    layer.activation_quantizer = quantizer if target == "activation" else None
    kind.connect([quantizer])
    inputs = torch.randn(6, 4, 5, 5)
    inputs = inputs if kind.signed_inputs else inputs.relu()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(8, 4, 3, 3) + 0.1)  # filters with a mean
        quantizer.initialize(layer.weight if target == "weight" else inputs, layer, inputs)
    x = layer.weight if target == "weight" else inputs.requires_grad_()
    found = [tensor.detach().clone() for tensor in (*quantizer.parameters(), x)]
    for step in (500, 501):  # halfway, where schedules have moved
        quantizer.set_progress(Progress(step, 1000, 50, 100, learning_rate=0.1))
        value = quantizer(x)
        loss = (value * torch.linspace(-1, 1, value.numel()).view_as(value)).sum()
        penalty = quantizer.penalty(x)
        quantizer.zero_grad()
        x.grad = None
        (loss if penalty is None else loss + penalty).backward()
        found += [value.detach().clone(), x.grad.clone()]
        for parameter in quantizer.parameters():
            found.append(torch.zeros(()) if parameter.grad is None else parameter.grad.clone())
        if isinstance(x, nn.Parameter):
            quantizer.after_backward(x)
            quantizer.after_step(x)
            found.append(x.detach().clone())
    return found


def differ(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) != len(second) or any(
        a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(("entry", "removal"), COMPONENTS)
def test_a_method_without_a_component_does_something_else(
    entry: Entry, removal: dict[str, Any]
) -> None:
    changed = entry.check_options(removal)
    assert changed.keys() == removal.keys()  # each differs from its default
    chosen = {target: bits for target, bits in widths(entry) if bits <= 3}
    assert any(
        differ(trace(entry, target, bits, {}), trace(entry, target, bits, removal))
        for target, bits in chosen.items()
    )


def test_a_trace_is_the_same_twice() -> None:
    """Else the test above could not fail."""
    for name in ("daq", "diffq", "metaquant", "quantnet"):
        target, bits = next(widths(ENTRIES[name]))
        assert not differ(*(trace(ENTRIES[name], target, bits, {}) for _ in range(2)))


@pytest.mark.parametrize("name", sorted({one.values[0].name for one in COMPONENTS}))
def test_components_can_all_be_left_out_together(name: str) -> None:
    entry, together = ENTRIES[name], {}
    for removal in entry.facts["components"].values():
        assert all(together.get(option, value) == value for option, value in removal.items())
        together |= removal
    for target, bits in widths(entry):
        quantizers.load(name)(bit_width=bits, target=target, **entry.check_options(together))
