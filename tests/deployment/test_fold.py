"""Folded batch norms compute the same within the rounding that the module derives."""

import pytest
import torch
from small_networks import deployed, images
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from qbench.deployment.fold import find_folds, without_norms

U = 2.0**-24
CASES = [("ste", "ste", 1, 32), ("ste", "ste", 4, 4), ("lsq", "lsq", 8, 8)]


def inputs_of(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0]})
        )
        for name in names
    ]
    with torch.no_grad():
        model(images())
    for hook in hooks:
        hook.remove()
    return seen


def products(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return conv2d(x, weight, None, layer.stride, layer.padding)
    return linear(x, weight)


@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_a_folded_layer_stays_within_the_bound_of_the_module(case: tuple) -> None:
    _, model = deployed(case)
    folds = find_folds(model, images(2))
    assert {layer: fold.norm for layer, fold in folds.items()} == {"0": "1", "3": "4", "7": "8"}
    seen = inputs_of(model, list(folds))
    for name, fold in folds.items():
        layer, norm = model.get_submodule(name), model.get_submodule(fold.norm)
        x = layer.quantized_input(seen[name]) if name != "0" else seen[name]
        side = [1, -1] + [1] * (x.ndim - 2)
        kept = norm(layer(seen[name]))
        weight = (fold.factor.view(-1, *[1] * (layer.weight.ndim - 1)) * layer.weight).float()
        folded = products(layer, x, weight) + fold.bias.view(side)
        count = layer.weight[0].numel()
        largest = layer.weight.abs().flatten(1).amax(1).view(side)
        own = layer.bias.abs().view(side) if layer.bias is not None else 0.0
        reach = 3 * largest * products(layer, x.abs(), torch.ones_like(layer.weight))
        scale = fold.factor.abs().view(side) * (reach + own + norm.running_mean.abs().view(side))
        bound = (2 * count + 16) * U * (scale + norm.bias.abs().view(side))
        assert bool(((kept - folded).abs() <= bound).all())
        assert not torch.equal(kept, folded)  # or nothing was folded
        exact = products(layer, x.double(), layer.weight.double())
        if layer.bias is not None:
            exact = exact + layer.bias.double().view(side)
        exact = norm.double()(exact)
        norm.float()
        assert bool(((folded - exact).abs() <= bound).all())


class Residual(nn.Module):
    """A pre-activation block: the sum reads the convolution too, not only the batch norm."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__()
        self.alone = alone
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.again, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        normed = self.norm(made)
        kept = normed if self.alone else made
        return self.last(self.again(normed.relu())) + kept


@pytest.mark.parametrize("alone", [True, False])
def test_a_layer_that_something_else_reads_is_not_folded(alone: bool) -> None:
    torch.manual_seed(0)
    model = Residual(alone=alone).eval()
    assert set(find_folds(model, images(2))) == ({"conv", "again"} if alone else {"again"})


def test_a_layer_or_norm_that_is_called_twice_is_not_folded() -> None:
    conv, norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    twice = nn.Sequential(conv, nn.BatchNorm2d(3), conv, nn.BatchNorm2d(3)).eval()
    assert find_folds(twice, images(2)) == {}
    shared = nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm).eval()
    assert find_folds(shared, images(2)) == {}


def test_norms_without_statistics_or_of_another_axis_are_left() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert find_folds(plain, images(2)) == {}
    tokens = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(3)).eval()
    assert find_folds(tokens, torch.randn(2, 3, 4)) == {}  # channels are not the features


def test_without_norms_gives_a_bias_and_takes_the_norm_away() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5))
    without_norms(model, {"0": "1"})
    assert isinstance(model[1], nn.Identity)
    assert model[0].bias.shape == (5,)
