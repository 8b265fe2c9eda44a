"""Noise is scaled by how many codes it changes, against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from qbench.diagnostics.calibration import changed_share, gaussian, sigma_for_share
from qbench.quantizers.ste import STE


def latents(size: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.2])
def test_t11_one_bit_of_gaussian_latents_is_the_arctangent(share: float) -> None:
    scale = 0.37
    weight = latents(100_000, scale)
    sigma = sigma_for_share(lambda x: (x >= 0).long(), weight, share, np.random.default_rng(1))
    assert sigma is not None
    assert math.atan(sigma.item() / scale) / math.pi == pytest.approx(share, abs=0.003)  # T11


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_t11_a_wide_uniform_grid_loses_sigma_over_the_step(share: float) -> None:
    step = 0.25  # far below the latents' spread, so that they lie anywhere in their cells
    weight = latents(50_000)
    sigma = sigma_for_share(
        lambda x: (x / step).round().long(), weight, share, np.random.default_rng(2)
    )
    assert sigma is not None
    assert sigma.item() / step * math.sqrt(2 / math.pi) == pytest.approx(share, abs=0.003)


def test_any_quantizer_with_codes_per_channel() -> None:
    quantizer = STE(bit_width=2, target="weight")
    weight = latents(16 * 8 * 9).view(16, 8, 3, 3)

    def codes(x: Tensor) -> Tensor:
        return quantizer.codes(x)[0]

    sigma = sigma_for_share(codes, weight, 0.05, np.random.default_rng(3))
    assert sigma is not None
    fresh = [gaussian(np.random.default_rng(seed), weight) for seed in range(100, 164)]
    # 64 * 1152 fresh chances at 5 %: a standard error of 0.0008
    assert changed_share(codes, weight, sigma, fresh).item() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_sigma_scales_with_the_latents(factor: float) -> None:
    weight = latents(2_000)
    one, other = (
        sigma_for_share(lambda x: (x >= 0).long(), w, 0.05, np.random.default_rng(4))
        for w in (weight, weight * factor)
    )
    assert one is not None
    assert other is not None
    assert (other / one).item() == pytest.approx(factor, rel=1e-3)  # bisection, float32


def test_nothing_where_codes_cannot_change() -> None:
    random = np.random.default_rng(5)
    constant = sigma_for_share(lambda x: torch.zeros_like(x).long(), latents(100), 0.01, random)
    assert constant is None
    assert sigma_for_share(lambda x: (x > 0).long(), torch.zeros(100), 0.01, random) is None
    assert (
        sigma_for_share(lambda x: (x > 0).long(), latents(100), 0.6, random) is None
    )  # at most 1/2


def test_noise_keeps_the_memory_format() -> None:
    like = torch.zeros(4, 3, 3, 3).to(memory_format=torch.channels_last)
    drawn = gaussian(np.random.default_rng(6), like)
    assert drawn.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(drawn, gaussian(np.random.default_rng(6), torch.zeros(4, 3, 3, 3)))
