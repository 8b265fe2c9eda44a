"""A probe computes what the plain network computes, and leaves the network as it was."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.diagnostics.probe import Probe
from qbench.models.batch_norm import with_batch_statistics
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.models.layers import set_mode
from qbench.quantizers.contract import Progress, Quantizer
from qbench.registry import quantizers
from qbench.study.schema import Component

TWO_BIT = [name for name, entry in quantizers.entries().items()
           if 2 in entry.facts.get("bits", {}).get("weight", ())]  # fmt: skip


class SharedReLU(nn.Module):
    """One ReLU module for several calls, inside and outside a part, as in torchvision's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Sequential(nn.Linear(9, 8), self.relu, nn.Linear(8, 8))
        self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x.flatten(1)))
        x = self.relu(self.second(x)) + x
        return self.last(self.relu(self.third(x)))


class AddsInPlace(nn.Module):
    """What a part put out is changed in place, by a sum with a layer's output and by a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.shortcut, self.last = nn.Linear(9, 8), nn.Linear(9, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        out = self.before(x)
        out += self.shortcut(x)
        return self.last(F.relu(out, inplace=True))


def resnet() -> nn.Module:
    return build_model(Component(name="resnet8"), channels=1, classes=4, size=8)


def probe_of(
    make: Callable[[], nn.Module], weights: type[Quantizer], activations: type[Quantizer] | None
) -> Probe:
    torch.manual_seed(3)
    model = make()
    quantize(
        model,
        weights=lambda: weights(bit_width=2, target="weight"),
        activations=None
        if activations is None
        else lambda: activations(bit_width=2, target="activation"),
        keep_float=["last"],
    )
    size = 8 if make is resnet else 3
    images, labels = torch.randn(24, 1, size, size), torch.randint(0, 4, (24,))
    initialize(model, images)
    for part in model.modules():
        if isinstance(part, Quantizer):
            part.set_progress(Progress(3, 10, 0, 2, 0.1))
    model.train()
    return Probe(model, images, labels, seed=5)


def plain_losses(probe: Probe, name: str, weight: Tensor) -> Tensor:
    """The whole network in deployed mode, with one weight replaced."""
    set_mode(probe.model, "deployed")
    probe.layers[name].fixed_weight = weight
    with torch.no_grad():
        found = F.cross_entropy(probe.model(probe.images), probe.labels, reduction="none")
    probe.layers[name].fixed_weight = None
    return found


@pytest.mark.parametrize("make", [resnet, SharedReLU, AddsInPlace])
def test_a_suffix_computes_what_the_whole_network_does_bit_for_bit(
    make: Callable[[], nn.Module],
) -> None:
    probe = probe_of(make, quantizers.load("ste"), quantizers.load("ste"))
    with probe.undisturbed():
        for name in probe.layers:
            here = probe.deployed[name]
            other = here.clone()
            other[0] = other[0].flip(0)
            with probe.suffix(name) as suffix:
                # twice, for a call must not change what the next one starts from
                found = [suffix.losses(weight) for weight in (other, here, other)]
                base = suffix.base
            expected = [plain_losses(probe, name, weight) for weight in (other, here)]
            assert torch.equal(base, expected[1]), name
            for value, index in zip(found, (0, 1, 0), strict=True):
                assert torch.equal(value, expected[index]), name


@pytest.mark.parametrize("name", TWO_BIT)
def test_probing_leaves_everything_bit_for_bit_as_it_was(name: str) -> None:
    kind = quantizers.load(name)
    activations = kind if 2 in kind.bits.get("activation", ()) else None
    probe = probe_of(resnet, kind, activations)
    model = probe.model
    model.eval()
    next(model.children()).train()  # a mixture that a blanket train() or eval() would not restore
    state = {key: value.clone() for key, value in model.state_dict().items()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    training = [part.training for part in model.modules()]
    modes = [layer.mode for layer in probe.layers.values()]
    random = torch.get_rng_state()
    with probe.undisturbed():
        assert set(probe.gradients) == set(probe.layers)
        probe.losses("training")
        layer = list(probe.layers)[1]
        with probe.suffix(layer) as suffix:
            suffix.loss(-suffix.weight)
    assert torch.equal(random, torch.get_rng_state())
    assert training == [part.training for part in model.modules()]
    assert modes == [layer.mode for layer in probe.layers.values()]
    assert all(layer.fixed_weight is None for layer in probe.layers.values())
    assert all(torch.equal(buffer, before) for buffer, before in buffers)
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[key], value) for key, value in state.items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_gradient_at_the_used_weight_is_that_of_the_training_loss() -> None:
    probe = probe_of(SharedReLU, quantizers.load("ste"), None)
    with probe.undisturbed():
        found = probe.gradients["second"]
    set_mode(probe.model, "training")
    with with_batch_statistics(probe.model):
        F.cross_entropy(probe.model(probe.images), probe.labels).backward()
    # STE's backward is the identity, so all three are one
    weight = probe.layers["second"].weight
    assert torch.equal(found.latent, weight.grad)
    assert torch.equal(found.at_used, weight.grad)
    assert torch.equal(found.used, probe.deployed["second"])


def test_a_weight_that_stands_still_has_a_zero_latent_gradient() -> None:
    kind = quantizers.load("quantization_networks")
    probe = probe_of(SharedReLU, kind, None)
    quantizer = probe.layers["second"].weight_quantizer
    quantizer.phase = 2  # its second phase, in which weights stand still
    with probe.undisturbed():
        assert probe.gradients["second"].latent.count_nonzero() == 0
        assert probe.gradients["second"].at_used.count_nonzero() > 0


def test_a_network_of_float_weights_has_no_gradients_at_them() -> None:
    probe = probe_of(SharedReLU, quantizers.load("ste"), quantizers.load("ste"))
    for layer in probe.layers.values():
        layer.weight_quantizer = None
    with probe.undisturbed():
        assert probe.gradients == {}


def test_a_frozen_weight_under_a_learned_scale_has_a_zero_latent_gradient() -> None:
    probe = probe_of(SharedReLU, quantizers.load("lsq"), None)
    probe.layers["second"].weight.requires_grad_(False)
    with probe.undisturbed():
        assert probe.gradients["second"].latent.count_nonzero() == 0
        assert probe.gradients["third"].latent.count_nonzero() > 0
