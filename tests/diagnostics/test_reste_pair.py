"""The ReSTE pair: estimators are found again from their derivative."""

import math

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.reste_pair import instability, primitive, reste_pair
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.functional import sign, with_gradient
from qbench.quantizers.ste import STE


def gaussian(size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("slope", "function"),
    [
        (torch.ones_like, lambda x: x),
        (lambda x: 6 / (6 * x).cosh() ** 2, lambda x: (6 * x).tanh()),
        (
            lambda x: (2 - 2 * x.abs()).clamp_min(0),
            lambda x: sign(x) * (1 - (1 - x.abs().clamp_max(1)) ** 2),
        ),
    ],
    ids=["identity", "tanh", "polynomial"],
)
def test_the_primitive_is_the_function_that_was_differentiated(slope, function) -> None:
    theta = gaussian(20_000).double()
    found = primitive(theta, slope(theta), function(theta))
    # 20,000 Gaussian points lie up to 0.5 apart in the tails, 1e-4 where the slopes are curved
    assert (found - function(theta)).abs().max() < 1e-4


def test_instability_is_the_variance_of_the_magnitude() -> None:
    variance, relative = instability(gaussian(200_000) * 3)
    folded = 1 - 2 / math.pi  # the variance of |x|, x standard normal
    assert variance.item() == pytest.approx(9 * folded, rel=0.02)  # 5 standard errors
    assert relative.item() == pytest.approx(folded * math.pi / 2, rel=0.02)


class Tanh(Quantizer):
    """A soft forward: tanh; deployed its sign."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x >= 0).long(), torch.tensor([-1.0, 1.0])


class Centred(Tanh):
    """A hard forward whose backward mixes weights."""

    def forward(self, x: Tensor) -> Tensor:
        return with_gradient(x - x.mean(), self.deployed(x))


class HardTanh(Tanh):
    """A hard forward with the slope of tanh."""

    def forward(self, x: Tensor) -> Tensor:
        return with_gradient(x, self.deployed(x), 1 - x.detach().tanh() ** 2)


def readings(kind: type[Quantizer]) -> tuple[dict[tuple[str, str], float], nn.Sequential]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 40))
    quantize(
        model,
        weights=lambda: kind(bit_width=1, target="weight"),
        activations=None,
        keep_float=[],
    )
    images, labels = torch.randn(64, 40), torch.arange(64) % 40
    with torch.no_grad():
        for layer in model:
            layer.weight.normal_()
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    with probe.undisturbed():
        found = list(reste_pair(Measurement(probe, 1, ("0", "1"), lambda: [], lambda: [])))
    assert all(one.value.isfinite() for one in found)
    return {(one.layer, one.name): one.value.item() for one in found}, model


def test_straight_through_has_the_latent_as_its_function() -> None:
    found, model = readings(STE)
    total = 0.0
    for name, layer in zip("01", model, strict=True):
        theta, value = layer.weight, layer.weight_quantizer.deployed(layer.weight)
        # levels are a row's, and so are the function and its constant
        fitted = theta + (value - theta).mean(1, keepdim=True)
        error = (fitted - value).norm().item()
        assert found[name, "gradient/reste_fitting_error"] == pytest.approx(error, rel=1e-4)
        share = (error / value.norm().item()) ** 2
        wanted = found[name, "gradient/reste_fitting_error_normalised"]
        assert wanted == pytest.approx(share, rel=1e-4)
        # of normal latents (1 - 2/pi) / (2/pi); less the freedom of 50 constants of 2000 weights
        assert share == pytest.approx(math.pi / 2 - 1, rel=0.1)
        total += error
    assert found["", "gradient/reste_fitting_error"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("kind", [Tanh, HardTanh])
def test_soft_forwards_and_hard_ones_with_their_slope_agree(kind: type[Quantizer]) -> None:
    found, model = readings(kind)
    theta = model[0].weight.detach()
    error = (theta.tanh() - sign(theta)).norm().item()
    # the hard one: a constant of least error, and 2000 points for the integral
    assert found["0", "gradient/reste_fitting_error"] == pytest.approx(error, rel=0.01)


def test_a_backward_that_mixes_weights_has_no_function() -> None:
    found, _ = readings(Centred)
    assert {name for _, name in found} == {
        "gradient/reste_instability",
        "gradient/reste_instability_normalised",
    }


class Still(STE):
    """A hard forward whose weights stand still for a while."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def test_weights_that_stand_still_have_gradients_without_spread() -> None:
    found, _ = readings(Still)
    assert found["0", "gradient/reste_instability"] == 0.0
    assert ("0", "gradient/reste_instability_normalised") not in found
