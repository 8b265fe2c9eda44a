"""D1 against the numbers of Lloyd and Max."""

import math

import pytest
import torch
from layer_networks import measured, one_layer
from torch import Tensor

from qbench.diagnostics.latent_fit import fit_latents
from qbench.diagnostics.lloyd_max import gaussian_error, gaussian_levels
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.ste import STE


def gaussian(count: int = 200_000) -> Tensor:
    """Quantiles of a standard Gaussian, so that there is no sampling error."""
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (math.sqrt(2) * torch.erfinv(2 * middle - 1)).view(1, -1)


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    return levels[torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)]


@pytest.mark.parametrize(
    ("levels", "error", "decibel"),
    [
        (2, 0.36338, 4.40),
        (3, 0.19017, 7.21),
        (4, 0.11748, 9.30),
        (8, 0.03455, 14.62),
        (16, 0.00950, 20.22),
    ],
)
def test_t12_lloyd_max(levels: int, error: float, decibel: float) -> None:
    best = gaussian_error(levels)
    assert best == pytest.approx(error, abs=1e-4)  # T12
    assert -10 * math.log10(best) == pytest.approx(decibel, abs=0.005)  # two decimals
    theta, codebook = gaussian(), torch.from_numpy(gaussian_levels(levels))
    found = fit_latents(theta, nearest(theta, codebook), codebook)
    assert found.error.item() == pytest.approx(error, abs=1e-4)  # T12


@pytest.mark.parametrize("levels", [2, 3, 5, 64, 255, 256])
def test_levels_are_the_means_of_their_cells(levels: int) -> None:
    values = torch.from_numpy(gaussian_levels(levels))
    assert (values.diff() > 0).all()
    torch.testing.assert_close(values, -values.flip(0), atol=1e-9, rtol=0)
    # dense quantizers approach sqrt(3) pi / 2 / levels^2, from below
    assert gaussian_error(levels) * levels**2 < math.sqrt(3) * math.pi / 2
    if levels >= 64:
        assert gaussian_error(levels) * levels**2 > 0.96 * math.sqrt(3) * math.pi / 2


@pytest.mark.parametrize(
    ("levels", "step", "error"), [(4, 0.9957, 0.11885), (8, 0.5860, 0.03744), (16, 0.3352, 0.01154)]
)
def test_t12_the_best_uniform_quantizer(levels: int, step: float, error: float) -> None:
    theta = gaussian()
    codebook = step * (torch.arange(levels, dtype=torch.float64) - (levels - 1) / 2)
    found = fit_latents(theta, nearest(theta, codebook), codebook)
    assert found.error.item() == pytest.approx(error, abs=1e-4)  # T12
    beyond = math.erfc(float(codebook[-1]) / math.sqrt(2))
    assert found.clipped_share.item() == pytest.approx(beyond, rel=0.01)  # a of the fit is near 1


def test_the_units_of_latents_and_levels_do_not_matter() -> None:
    theta, codebook = gaussian(1000), torch.tensor([-1.5, -0.5, 0.5, 1.5], dtype=torch.float64)
    weights = nearest(theta, codebook)
    here, there = (
        fit_latents(7 * theta + 2, factor * weights + 5, factor * codebook + 5)
        for factor in (1, -3)  # a negative scale: the outermost levels change places
    )
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other)


def test_rounding_and_clipping_add_up() -> None:
    theta = torch.tensor([[-3.0, -1.0, 1.0, 3.0]])
    found = fit_latents(theta, theta.sign(), torch.tensor([-1.0, 1.0]))
    # a = 2: errors -1, 1, -1, 1; only -3 and 3 lie beyond -2 and 2
    assert found.error.item() == pytest.approx(4 / 20)
    assert found.clipped_error.item() == pytest.approx(2 / 20)
    assert found.clipped_share.item() == 0.5


def test_a_layer_with_one_bit_of_gaussian_latents() -> None:
    model = one_layer(lambda: STE(bit_width=1, target="weight"), inputs=20_000, outputs=1)
    with torch.no_grad():
        model[0].weight.copy_(gaussian(20_000))
    found = measured(model, ["latent_error"]).network
    values = {row.name.removeprefix("discretization/latent_error"): row.value for row in found}
    assert values[""] == pytest.approx(1 - 2 / math.pi, abs=1e-4)  # T12
    assert values["_excess"] == pytest.approx(1, abs=1e-3)
    assert values["_rounding"] + values["_clipping"] == pytest.approx(values[""])


def test_nothing_is_said_of_constant_latents_or_activations_only() -> None:
    model = one_layer(lambda: STE(bit_width=2, target="weight"))
    torch.nn.init.zeros_(model[0].weight)
    assert not measured(model, ["latent_error"]).network
    only = one_layer(None, lambda: STE(bit_width=2, target="activation"))
    assert not measured(only, ["latent_error"]).network


def test_constant_levels_explain_nothing() -> None:
    class Blank(Quantizer):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

        def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(x, dtype=torch.int64), torch.zeros(2)

    found = measured(one_layer(lambda: Blank(bit_width=1, target="weight")), ["latent_error"])
    assert {row.value for row in found.network if row.name.endswith("error")} == {1.0}
