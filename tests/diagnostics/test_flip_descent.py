"""G4: the right number of codes move, and the numbers are those of the plain network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from layer_networks import linear_probe as probe_of
from torch import Tensor

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.flip_descent import scale_to_changes
from qbench.diagnostics.flips import flips
from qbench.diagnostics.measure import Chosen, measure
from qbench.diagnostics.probe import Probe

LAYER = "2"
METHODS = ("ste", "dorefa", "lsq", "daq", "metaquant", "quantization_networks", "quantnet")


def values(probe: Probe, update: Tensor | None = None, **options: object) -> dict[str, float]:
    memory = {} if update is None else {f"window/update/{LAYER}": update}
    measurement = Measurement(
        probe=probe,
        epoch=0,
        layers=(LAYER,),
        held_out=lambda: [],
        training=lambda: [],
        memory=memory,
    )
    found = measure([Chosen("flip_descent", options)], measurement).network
    along = "descent" if update is None else "update"
    ours = [row for row in found if row.name.startswith(f"gradient/{along}_")]
    return {row.name.removeprefix(f"gradient/{along}_"): row.value for row in ours}


def gradient(probe: Probe) -> Tensor:
    with probe.undisturbed():
        return probe.gradients[LAYER].latent


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("wanted", [1, 12, 60])
def test_so_many_codes_move(name: str, wanted: int) -> None:
    probe = probe_of(name)
    weight, quantizer = probe.layers[LAYER].weight.detach(), probe.layers[LAYER].weight_quantizer
    direction = -gradient(probe)
    scale = scale_to_changes(lambda x: quantizer.codes(x)[0], weight, direction, wanted)
    assert scale is not None
    moved = quantizer.codes(weight + scale * direction)[0] != quantizer.codes(weight)[0]
    # a kernel whose weights are mixed moves several codes at once
    assert abs(int(moved.sum()) - wanted) <= (1 if name == "quantnet" else 0)


def test_the_scale_of_signs_is_where_that_many_latents_pass_zero() -> None:
    theta = torch.tensor([0.1, -0.5, 0.4, 1.0, -2.0])
    direction = torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0])  # they cross 0 at t = .1, .5, never, 1, 2
    for wanted, low, high in ((1, 0.1, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0)):
        scale = scale_to_changes(lambda x: (x >= 0).long(), theta, direction, wanted)
        assert scale is not None
        assert low <= float(scale) <= high + 1e-5
    assert scale_to_changes(lambda x: (x >= 0).long(), theta, direction, 5) is not None  # 4: near
    assert scale_to_changes(lambda x: (x >= 0).long(), theta, theta, 3) is None  # none ever crosses
    assert scale_to_changes(lambda x: (x >= 0).long(), theta, 0 * theta, 1) is None


def test_ratio_and_z_are_those_of_the_plain_network() -> None:
    probe = probe_of()
    layer = probe.layers[LAYER]
    found = values(probe, shares=(0.02,), sets=16)
    direction = -gradient(probe)
    scale = scale_to_changes(
        lambda x: layer.weight_quantizer.codes(x)[0],
        layer.weight.detach(),
        direction,
        24,  # 2 % of 1200
    )
    moved = copy.deepcopy(probe.model)
    with torch.no_grad():
        moved[2].weight += scale * direction
        before, after = (
            F.cross_entropy(model(probe.images), probe.labels) for model in (probe.model, moved)
        )
        change = moved[2].quantized_weight() - layer.quantized_weight()
    promised = -float((gradient(probe) * change).sum())  # STE: gamma is the latents' gradient
    decrease = float(before - after)
    assert promised > 0
    assert abs(found["ratio_2pct"] - decrease / promised) < 1e-4  # float32 losses
    with probe.undisturbed():
        spread = flips(probe, LAYER, 0.02, 16).actual.std(ddof=1)
    assert abs(found["z_2pct"] - decrease / spread) < 1e-3


def test_the_optimizers_update_is_followed_whatever_its_length() -> None:
    probe = probe_of()
    along = values(probe, sets=8)
    for length in (1e-3, 10.0):
        again = values(probe, -length * gradient(probe), sets=8)
        assert again == pytest.approx(along, rel=1e-3)  # t is known as well as float32 allows
    torch.manual_seed(1)
    elsewhere = values(probe, torch.randn_like(gradient(probe)), sets=8)
    assert elsewhere["z_5pct"] < along["z_5pct"] / 2


def test_a_promise_no_larger_than_a_random_sets_has_no_ratio() -> None:
    probe = probe_of()
    torch.manual_seed(2)
    found = [
        values(probe, torch.randn_like(gradient(probe)), sets=32, shares=(0.01,)) for _ in range(12)
    ]
    with probe.undisturbed():
        predicted, actual = (part.std(ddof=1) for part in flips(probe, LAYER, 0.01, 32))
    given = [one for one in found if "ratio_1pct" in one]
    # random directions promise what random sets do: 68 % of a Gaussian lies within one sd
    assert 0 < len(given) < len(found)
    for one in given:
        assert abs(one["ratio_1pct"]) <= abs(one["z_1pct"]) * actual / predicted * (1 + 1e-9)


def test_going_up_loses() -> None:  # T15: the negated gradient
    probe = probe_of()
    down, up = values(probe, sets=8), values(probe, gradient(probe), sets=8)
    assert down["z_1pct"] > 3  # far above random sets
    assert up["z_1pct"] < -3
    assert down["ratio_1pct"] > 0
    assert up["ratio_1pct"] > 0  # it falls and rises as gamma says


def test_flip_sets_are_not_computed_again() -> None:
    probe = probe_of()
    calls: list[int] = []
    probe.model.register_forward_hook(lambda *_: calls.append(1))
    values(probe, sets=8, shares=(0.01,))
    first = len(calls)
    values(probe, sets=8, shares=(0.01,))
    # what is left: the prefix, the loss at the deployed weight, and the one at the update
    assert (first, len(calls) - first) == (1 + 3 + 2 + 8, 3)
