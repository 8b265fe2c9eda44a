"""Where weights start: the distributions, and that a seed and an option decide every number."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from qbench.errors import UsageError
from qbench.models.build import build_model
from qbench.study.schema import Bits, Component
from qbench.study.trial import Trial, TrialData

KINDS = ("own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform")


def make(name="resnet8", seed=0, **options):
    torch.manual_seed(seed)
    component = Component(name=name, options=options)
    return build_model(component, channels=3, classes=10, size=8)


def layers(model):
    return [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def state(model):
    return torch.cat([part.flatten() for part in model.state_dict().values()])


@pytest.mark.parametrize("init", KINDS)
@pytest.mark.parametrize("name", ["resnet8", "vgg_small", "mlp"])
def test_one_seed_and_one_init_are_one_network(name, init):
    options = {"init": init, "init_scale": 0.5}
    assert torch.equal(state(make(name, **options)), state(make(name, **options)))
    assert not torch.equal(state(make(name, **options)), state(make(name, seed=1, **options)))


def test_each_init_is_another_start():
    assert all(
        not torch.equal(state(make(init=one)), state(make(init=other)))
        for one, other in pairwise(KINDS)
    )


@pytest.mark.parametrize("init", KINDS[1:])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_layers_have_the_variance_of_the_formula(init, scale):
    for layer in layers(make("vgg_small", init=init, init_scale=scale)):
        inputs = layer.weight[0].numel()
        outputs = layer.weight[:, 0].numel()
        variance = 2 / inputs if init.startswith("he") else 2 / (inputs + outputs)
        spread = scale * math.sqrt(variance)
        weight = layer.weight.detach()
        # a standard deviation of n values is known to 1/sqrt(2n); the smallest layer has 3456
        assert weight.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * weight.numel()))
        if init.endswith("uniform"):
            assert weight.abs().max().item() <= math.sqrt(3) * spread * 1.000001  # float32
        else:
            assert weight.abs().max().item() > 2.5 * spread  # a Gaussian's, of 3456 and more
        assert layer.bias is None or not layer.bias.any()


def test_the_networks_own_start_can_be_scaled():
    plain, scaled = make("mlp"), make("mlp", init_scale=2.0)
    for one, other in zip(layers(plain), layers(scaled), strict=True):
        assert torch.equal(2 * one.weight, other.weight)  # a power of two, so exact
        assert one.bias is None or torch.equal(one.bias, other.bias)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(UsageError, match=f"init_scale={scale} is not allowed"):
        make(init_scale=scale)


def test_a_file_of_weights_wins_over_the_start(tmp_path):
    pytest.importorskip("torchvision")
    path = tmp_path / "weights.pth"
    torch.manual_seed(1)
    component = Component(name="torchvision/squeezenet1_1")
    torch.save(build_model(component, channels=3, classes=10, size=32).state_dict(), path)
    options = {"weights": str(path), "init": "xavier_uniform"}
    loaded = build_model(
        Component(name=component.name, options=options), channels=3, classes=10, size=32
    )
    assert torch.equal(state(loaded), torch.cat([p.flatten() for p in torch.load(path).values()]))


def test_reports_tell_networks_with_another_start_apart():
    def trial(**options):
        return Trial(
            quantizer=Component(name="float"),
            model=Component(name="resnet8", options=options),
            data=TrialData(name="digits"),
            bits=Bits(weight=32, activation=32),
            seed=0,
        )

    plain, other = trial(), trial(init="he_uniform")
    assert other.model.label == "resnet8 (init=he_uniform)"  # of which a report's settings are made
    assert plain.model.label == "resnet8"
    assert plain.id != other.id
