"""Levels in few numbers give the codebook again; what is even is told from what is not."""

import pytest
import torch

from qbench.deployment.levels import few_numbers, rising, uniform_grid, used_levels
from qbench.quantizers.contract import decode

CHANNELS = 6


def scales() -> torch.Tensor:
    return torch.rand(CHANNELS, 1, generator=torch.Generator().manual_seed(0)) + 0.01


def index(bits: int) -> torch.Tensor:
    return torch.arange(2.0**bits)


def size(levels) -> int:
    parts = (levels.rows, levels.scale, levels.offset)
    return sum(part.numel() for part in parts if part is not None)


FORMS = {  # how methods compute their codebooks, and how many numbers a channel that is
    "odd multiples": (lambda b: scales() * (2 * index(b) - (2**b - 1)), 1),
    "fractions of a scale": (lambda b: scales() * ((2 * index(b) - (2**b - 1)) / (2**b - 1)), 1),
    "low and step": (lambda b: -scales() + index(b) * (2 * scales() / (2**b - 1)), 2),
    "two's complement": (lambda b: (index(b) - 2 ** (b - 1)) * scales()[0], None),
    "unsigned": (lambda b: index(b) * scales()[0], None),
}


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("form", FORMS)
def test_a_codebook_comes_back_bit_for_bit_in_few_numbers(form: str, bits: int) -> None:
    make, a_channel = FORMS[form]
    codebook = make(bits)
    codes = torch.arange(2**bits).repeat(CHANNELS, 1)  # all are used
    levels = few_numbers(codes, codebook)
    assert torch.equal(levels.codebook().expand_as(codebook), codebook)
    assert size(levels) <= (1 if a_channel is None else 2 * CHANNELS)
    if bits > 2 and a_channel is not None:
        assert size(levels) <= max(a_channel, 1) * CHANNELS
    grid = uniform_grid(codebook)
    assert grid is not None
    expected = grid.offset[:, None] + grid.step[:, None] * index(bits).double()
    # 2^-20 of the largest level is what four roundings of twice its size may add up to.
    assert float((expected - codebook).abs().max()) <= 2**-20 * float(codebook.abs().max())


def test_other_levels_are_kept_as_they_are() -> None:
    powers = torch.tensor([-1.0, -0.25, 0.25, 1.0])
    levels = few_numbers(torch.arange(4).repeat(2, 1), powers)
    assert torch.equal(levels.codebook(), powers)
    assert levels.rows is not None
    assert uniform_grid(powers) is None


def test_levels_that_no_code_has_are_free() -> None:
    codebook = torch.tensor([[-3.0, -1.0, 1.0, 3.0], [-0.3, -0.1, -0.1, -0.1]])  # a plateau
    codes = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 1]])
    levels = few_numbers(codes, codebook)
    assert torch.equal(decode(codes, levels.codebook()), decode(codes, codebook))
    assert levels.rows is None
    assert uniform_grid(codebook) is None
    assert uniform_grid(codebook, used_levels(codes, codebook)) is not None


def test_one_level_a_hundredth_of_a_step_away_is_not_even() -> None:
    codebook = torch.arange(256) * (2 / 255) - 1
    assert uniform_grid(codebook) is not None
    codebook[100] += 0.01 * 2 / 255
    assert uniform_grid(codebook) is None
    assert uniform_grid(torch.tensor([-0.7, 0.0, 1.0])) is None
    assert uniform_grid(torch.tensor([1.0, -1.0])) is None  # they fall


def test_levels_in_rising_order_are_the_same_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(4, (5, 3, 2), generator=generator)
    for codebook in (torch.randn(4, generator=generator), torch.randn(5, 4, generator=generator)):
        sorted_codes, sorted_levels = rising(codes, codebook)
        assert torch.equal(decode(sorted_codes, sorted_levels), decode(codes, codebook))
        assert bool((sorted_levels.diff(dim=-1) >= 0).all())


@pytest.mark.parametrize("codebook", [torch.tensor([-1.0, 0.5, 3.0]), torch.randn(4, 3)])
def test_a_factor_multiplies_each_channel(codebook: torch.Tensor) -> None:
    codes = torch.arange(3).repeat(4, 1)
    factor = torch.tensor([1.5, -2.0, 0.25, 3.0], dtype=torch.float64)
    found = few_numbers(codes, codebook).times(factor).codebook()
    expected = (factor[:, None] * codebook.double()).float()
    assert torch.allclose(found, expected, rtol=2**-22, atol=0)  # at most two roundings each
    # A shared codebook stays one, beside a scale a channel.
    assert size(few_numbers(codes, codebook).times(factor)) <= max(codebook.numel(), 4 + 3)
