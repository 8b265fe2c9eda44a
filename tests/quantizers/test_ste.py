"""The straight-through estimator: what the papers state."""

import pytest
import torch
from scipy import integrate, optimize, stats
from torch import nn

from qbench.quantizers.ste import GAUSSIAN_CLIP, STE


def activation(bits: int, batch: torch.Tensor, rule: str = "clipped") -> STE:
    quantizer = STE(bit_width=bits, target="activation", activation_backward=rule)
    quantizer.initialize(batch, nn.Identity(), batch)
    return quantizer


def gradient(quantizer: STE, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    quantizer(x).sum().backward()
    return x.grad


def test_one_bit_weights_are_sign_times_the_channel_mean() -> None:
    weight = torch.tensor([[0.5, -0.25, 0.0, 0.25], [-2.0, 1.0, 1.0, 0.0]])
    value = STE(bit_width=1, target="weight")(weight)
    expected = torch.tensor([[0.25, -0.25, 0.25, 0.25], [-1.0, 1.0, 1.0, 1.0]])  # sign(0) = +1
    assert torch.equal(value, expected)


def test_the_one_bit_scale_minimises_the_squared_error() -> None:
    """Rastegari et al. 2016, eq. 6: alpha = mean|w| is the least-squares scale of sign(w)."""
    weight = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    value = STE(bit_width=1, target="weight")(weight)
    error = (weight - value).square().sum()
    for factor in (0.99, 1.01):
        assert (weight - factor * value).square().sum() > error


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_clip_is_the_best_uniform_one_for_gaussian_values(bits: int) -> None:
    steps = 2**bits - 1

    def error(clip: float) -> float:
        step = 2 * clip / steps
        levels = [-clip + i * step for i in range(steps + 1)]
        edges = [-8.0, *[level + step / 2 for level in levels[:-1]], 8.0]
        return sum(
            integrate.fixed_quad(lambda x, q=level: (x - q) ** 2 * stats.norm.pdf(x), a, b, n=20)[0]
            for level, a, b in zip(levels, edges[:-1], edges[1:], strict=True)
        )

    best = optimize.minimize_scalar(error, bounds=(0.5, 5.0), method="bounded").x
    assert GAUSSIAN_CLIP[bits - 1] == pytest.approx(best, abs=2e-3)  # the table has 4 digits


def test_the_backward_rules_of_one_bit_weights() -> None:
    weight = torch.tensor([[-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]])
    rules = {
        "identity": [1, 1, 1, 1, 1, 1, 1],
        "clipped": [0, 1, 1, 1, 1, 1, 0],  # Hubara et al. 2016: 1[|x| <= 1]
        "polynomial": [0, 0, 1, 2, 1, 0, 0],  # Liu et al. 2018: 2 - 2|x| on [-1, 1]
    }
    for rule, slopes in rules.items():
        quantizer = STE(bit_width=1, target="weight", weight_backward=rule)
        assert torch.allclose(gradient(quantizer, weight), torch.tensor([slopes]).float()), rule


@pytest.mark.parametrize("rule", ["clipped", "polynomial"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_every_rule_conserves_the_area_of_the_staircase(rule: str, bits: int) -> None:
    """The integral of the slope over the range is the rise of the staircase."""
    x = torch.linspace(0, 1, 40_001)
    quantizer = activation(bits, torch.rand(1000), rule)
    high = quantizer.high.item()
    mean_slope = gradient(quantizer, x * high).mean().item()
    assert mean_slope == pytest.approx(1.0, abs=2e-3)  # 40,001 points, kinks at the thresholds


def test_the_clip_of_activations_minimises_the_error_on_the_first_batch() -> None:
    batch = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).relu()
    quantizer = activation(2, batch)
    assert quantizer.signed.item() == 0
    best = (quantizer(batch) - batch).square().mean()
    for factor in (0.9, 1.1):
        quantizer.high.mul_(factor)
        assert (quantizer(batch) - batch).square().mean() > best
        quantizer.high.div_(factor)


def test_activations_with_a_sign_get_signed_levels() -> None:
    quantizer = activation(1, torch.tensor([-1.0, -0.5, 0.5, 1.0]))
    high = quantizer.high.item()
    assert quantizer(torch.tensor([-3.0, 0.0, 3.0])).tolist() == [-high, high, high]
