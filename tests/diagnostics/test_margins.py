"""D4 on latents whose margins and codes are known."""

import math

import pytest
import torch
from layer_networks import measured, one_layer
from scipy.stats import norm
from torch import Tensor

from qbench.diagnostics.margins import code_use, near_threshold
from qbench.quantizers.contract import Quantizer
from qbench.quantizers.ste import GAUSSIAN_CLIP, STE


def quantiles(count: int) -> Tensor:
    """Of a standard Gaussian, without sampling error."""
    return torch.from_numpy(norm.ppf((torch.arange(count).double().numpy() + 0.5) / count))


def codes(model: torch.nn.Module) -> dict[str, float]:
    found = measured(model, ["margins"]).network
    return {row.name.removeprefix("codes/"): row.value for row in found}


def one_channel(bits: int, count: int = 20_000) -> torch.nn.Sequential:
    model = one_layer(lambda: STE(bit_width=bits, target="weight"), inputs=count, outputs=1)
    with torch.no_grad():
        model[0].weight.copy_(quantiles(count).view(1, -1))
    return model


def test_one_bit_of_gaussian_latents() -> None:
    found = codes(one_channel(1))
    expected = 2 * norm.cdf(0.1 * norm.ppf(0.75)) - 1  # a tenth of the median of |theta|
    assert expected == pytest.approx(0.0538, abs=1e-4)
    assert found["near_threshold"] == pytest.approx(expected, abs=2e-4)  # a few of 20,000 latents
    assert found["entropy"] == pytest.approx(1)
    assert found["unused_levels"] == 0
    beyond = 2 * norm.sf(math.sqrt(2 / math.pi))  # the level is mean |theta|
    assert found["clipped"] == pytest.approx(beyond, abs=2e-4)


def test_two_bits_of_gaussian_latents() -> None:
    found = codes(one_channel(2))
    # levels from -c to c with c = mean|theta| times a ratio: thresholds at 0 and 2c/3 of a unit
    step = 2 * GAUSSIAN_CLIP[1] * math.sqrt(2 / math.pi) / GAUSSIAN_CLIP[0] / 3
    near = sum(
        norm.cdf(threshold + 0.05 * step) - norm.cdf(threshold - 0.05 * step)
        for threshold in (-step, 0, step)
    )
    assert found["near_threshold"] == pytest.approx(near, abs=5e-4)  # a few of 20,000 a threshold
    inner, outer = norm.cdf(step) - 0.5, norm.sf(step)
    entropy = -2 * (inner * math.log2(inner) + outer * math.log2(outer)) / 2
    assert found["entropy"] == pytest.approx(entropy, abs=1e-3)


def test_margins_of_few_latents() -> None:
    theta = torch.tensor([[0.0, 0.98, 1.02, 2.9, 3.1, 6.0]])
    ranks = torch.tensor([[0, 0, 1, 1, 2, 2]])
    # thresholds 1 and 3, all cells 2 wide: 0.98, 1.02 are near (0.02), 2.9 and 3.1 are not (0.1)
    theta[0, 4] = 3.1001
    assert near_threshold(theta, ranks).item() == pytest.approx(2 / 6)
    assert near_threshold(-theta, ranks).item() == pytest.approx(2 / 6)  # a negative scale
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    assert near_threshold(theta[:, shuffled], ranks[:, shuffled]).item() == pytest.approx(2 / 6)


def test_outer_cells_are_as_wide_as_their_neighbours() -> None:
    # thresholds 0, 1 and 11; cells from the left: as the next 1, 1, 10, as the one before 10
    theta = torch.tensor([[-0.06, -0.001, 0.001, 0.999, 1.001, 10.999, 11.001, 11.4, 20.0]])
    ranks = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3, 3]])
    # -0.06 is not within 0.05, 11.4 is within 0.5
    assert near_threshold(theta, ranks).item() == pytest.approx(7 / 9)


def test_rows_without_a_threshold_do_not_count() -> None:
    theta = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-2.0, -0.01, 0.01, 2.0]])
    ranks = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    # median distance: of 0.01, 0.01, 2, 2 the lower middle one
    assert near_threshold(theta, ranks).item() == 0.0
    assert near_threshold(theta[:1], ranks[:1]).isnan()


def test_codes_without_the_order_of_latents_have_no_margins() -> None:
    assert near_threshold(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0, 1, 0]])).isnan()

    class Mixed(Quantizer):
        """The code of a weight is another weight's."""

        def forward(self, x: Tensor) -> Tensor:
            return self.deployed(x)

        def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return (x.flip(-1) > 0).long(), torch.tensor([-1.0, 1.0])

    found = codes(one_layer(lambda: Mixed(bit_width=1, target="weight")))
    assert set(found) == {"entropy", "unused_levels", "clipped"}


def test_levels_in_any_order_are_the_same_levels() -> None:
    class Descending(STE):
        def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
            numbers, codebook = super().codes(x)
            return self.levels - 1 - numbers, codebook.flip(-1)

    plain, other = (
        codes(one_layer(lambda kind=kind: kind(bit_width=2, target="weight"), inputs=50))
        for kind in (STE, Descending)
    )
    assert plain == other


def test_the_use_of_codes() -> None:
    entropy, unused = code_use(torch.tensor([[0, 0], [3, 3]]), 4)
    assert (entropy.item(), unused.item()) == (0.5, 0.5)
    entropy, unused = code_use(torch.arange(8), 8)
    assert (entropy.item(), unused.item()) == (pytest.approx(1.0), 0.0)
    assert code_use(torch.zeros(3, dtype=torch.int64), 1)[0].isnan()


def test_the_curve_of_flips_is_the_arctangent() -> None:
    class Sign(Quantizer):
        def forward(self, x: Tensor) -> Tensor:
            return self.deployed(x)

        def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return (x >= 0).long(), torch.tensor([-1.0, 1.0])

    model = one_layer(lambda: Sign(bit_width=1, target="weight"), inputs=40_000, outputs=1)
    with torch.no_grad():
        model[0].weight.copy_(quantiles(40_000).view(1, -1))
    points = measured(model, ["margins"], noises=(0.1, 0.5, 1.0)).points
    assert [point.x for point in points] == [0.1, 0.5, 1.0]
    for point in points:
        expected = math.atan(point.x) / math.pi
        error = math.sqrt(expected * (1 - expected) / 40_000)
        assert abs(point.y - expected) < 4 * error
    assert points == measured(model, ["margins"], noises=(0.1, 0.5, 1.0)).points
