"""Ranges and kurtosis against the closed forms of known distributions."""

import math

import pytest
import torch
from layer_networks import convolutions, measured, one_layer
from torch import Tensor

from qbench.diagnostics.weight_ranges import ranges
from qbench.quantizers.ste import STE

MANY = 200_000


def quantiles(count: int = MANY) -> Tensor:
    """Evenly spaced in (0, 1), so that there is no sampling error."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize(
    ("values", "kurtosis", "largest"),
    [
        (2 * quantiles() - 1, 1.8, 1.0),  # uniform in [-1, 1]: (1/5) / (1/3)^2
        (math.sqrt(2) * torch.erfinv(2 * quantiles() - 1), 3.0, 4.56),  # Gaussian, quantile 1-1/4e5
        (torch.sign(quantiles() - 0.5), 1.0, 1.0),  # two values
        (-torch.log1p(-quantiles()), 9.0, 12.9),  # exponential; ln 4e5
    ],
    ids=["uniform", "gaussian", "two values", "exponential"],
)
def test_known_distributions(values: Tensor, kurtosis: float, largest: float) -> None:
    found = ranges(values.view(1, -1), 0)
    assert found["kurtosis"].item() == pytest.approx(kurtosis, rel=0.01)
    assert found["largest"].item() == pytest.approx(largest, rel=0.01)
    assert found["channel_range"].item() == pytest.approx((values.max() - values.min()).item())
    assert found["channel_ratio"].item() == 1.0  # one channel is its own mean


def test_ranges_of_channels() -> None:
    even = torch.linspace(-1, 1, 5)
    x = torch.stack([even, 2 * even + 7, 5 * even, 0 * even])  # widths 2, 4, 10, 0; mean 4
    found = ranges(x, 0)
    assert found["channel_range"].item() == 4
    assert found["channel_ratio"].item() == 2.5
    assert found["largest"].item() == 9
    other = ranges(x.T.reshape(5, 4, 1).expand(5, 4, 3), 1)  # the axis is that of the channels
    assert other["channel_range"].item() == 4


def test_kurtosis_is_of_the_shape_alone() -> None:
    x = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ranges(x, 0)["kurtosis"], ranges(-3 * x + 5, 0)["kurtosis"])


def test_layers_are_read_where_their_quantizers_read_them() -> None:
    model = convolutions(lambda: STE(bit_width=2, target="weight"), None)
    found = {(row.layer, row.name): row.value for row in measured(model, ["weight_ranges"]).layers}
    assert {layer for layer, _ in found} == {"0", "3", "7"}
    for name, part in (("0", model[0]), ("7", model[7])):
        largest = part.weight.abs().max().item()
        assert found[name, "ranges/weight_largest"] == pytest.approx(largest)
    assert 0 < found["3", "ranges/input_largest"] <= 1  # a tanh
    assert found["7", "ranges/input_channel_ratio"] >= 1


def test_a_constant_weight_has_a_range_and_no_shape() -> None:
    model = one_layer(lambda: STE(bit_width=2, target="weight"))
    torch.nn.init.zeros_(model[0].weight)
    names = {row.name for row in measured(model, ["weight_ranges"]).layers}
    assert {"ranges/weight_largest", "ranges/weight_channel_range"} <= names
    assert not {"ranges/weight_kurtosis", "ranges/weight_channel_ratio"} & names
    assert "ranges/input_kurtosis" in names
