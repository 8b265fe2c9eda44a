"""A small network of every method and width, as if trained, and what is deployed of it."""

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from qbench.deployment.freeze import freeze
from qbench.deployment.load import load_deployed
from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers, set_mode
from qbench.quantizers.contract import Progress, Quantizer
from qbench.registry import quantizers

Case = tuple[str, str, int, int]  # methods of weights and activations, their bits

METHODS = {name: entry for name, entry in quantizers.entries().items() if name != "float"} | {
    (name := f"{family.name.partition('/')[0]}/{member}"): quantizers.entry(name)
    for family in quantizers.entries().values()
    for member in family.facts.get("members", ())
    if importlib.util.find_spec(family.facts["requires"])  # optional libraries
}


def every_case() -> list[Case]:
    """Each method at each of its widths; the other target is of ``ste``, at as many bits."""
    cases = []
    for name, entry in METHODS.items():
        widths = entry.facts["bits"]
        cases += [(name, "ste", bits, bits) for bits in widths.get("weight", ())]
        cases += [("ste", name, 2, bits) for bits in widths.get("activation", ())]
    return cases


def representatives(cases: list[Case]) -> set[Case]:
    """Of each family and target the first method, at its fewest and at its most bits."""
    chosen: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        for target, name in (("weight", case[0]), ("activation", case[1])):
            own = name != "ste" or case[:2] == ("ste", "ste")
            if own:
                family = METHODS[name].facts.get("family", "surrogate")
                group = chosen.setdefault((family, target), [])
                first = group[0][0 if target == "weight" else 1] if group else name
                if name == first:
                    group.append(case)
    return {case for group in chosen.values() for case in (group[0], group[-1])}


def named(cases: list[Case]) -> list:
    """Parameters of a test; those of no representative are slow."""
    return _parameters(cases, representatives(cases))


def at_the_ends(cases: list[Case]) -> list:
    """Parameters of a test; each method is quick at its fewest and its most bits."""
    ends: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        ends.setdefault(case[:2], []).append(case)
    return _parameters(cases, {case for group in ends.values() for case in (group[0], group[-1])})


def _parameters(cases: list[Case], quick: set[Case]) -> list:
    return [
        pytest.param(
            case,
            id=f"{case[0]}+{case[1]}-w{case[2]}a{case[3]}",
            marks=[] if case in quick else [pytest.mark.slow],
        )
        for case in cases
    ]


def images(count: int = 32) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def fresh(case: Case, *, shift: int = 0) -> nn.Module:
    """The network before it was trained; another ``shift`` gives other weights."""
    weights, activations, weight_bits, activation_bits = case
    kinds = [quantizers.load(name) for name in (weights, activations)]

    def active() -> nn.Module:
        return nn.Hardtanh() if kinds[1].signed_inputs else nn.ReLU()

    def made(kind: type[Quantizer], bits: int, target: str):
        return (lambda: kind(bit_width=bits, target=target)) if bits < 32 else None

    torch.manual_seed(5 + shift)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), active(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), active(),
        nn.Flatten(), nn.Linear(12 * 16, 16), nn.BatchNorm1d(16), active(), nn.Linear(16, 5),
    )  # fmt: skip
    quantize(
        model,
        weights=made(kinds[0], weight_bits, "weight"),
        activations=made(kinds[1], activation_bits, "activation"),
        keep_float=("first", "last"),
    )
    return model


def trained(case: Case) -> nn.Module:
    """A network at the end of its schedules, whose norms are not as they start."""
    model = fresh(case)
    generator = torch.Generator().manual_seed(2)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 4.0, 1.0, generator=generator)  # pact clips at 10 at first
            part.weight.data[0] *= -1  # a channel may be turned over
            nn.init.normal_(part.bias, 0.0, 1.0, generator=generator)
    initialize(model, images())
    for layer in quantized_layers(model).values():
        for quantizer in (layer.weight_quantizer, layer.activation_quantizer):
            if quantizer is not None:
                quantizer.set_progress(Progress.end())
    with torch.no_grad():
        model.train()
        for _ in range(3):
            model(images())
    set_mode(model, "deployed")
    return model.eval()


def deployed(case: Case) -> tuple[dict[str, Tensor], nn.Module]:
    """The tensors of the deployed file, and the network that is loaded from them."""
    tensors = freeze(trained(case))
    return tensors, load_deployed(tensors, fresh(case, shift=1)).eval()
