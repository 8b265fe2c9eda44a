"""APoT: Li, Dong, Wang 2020, equations 5 to 7, and correction 6 of the specification."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from qbench.quantizers.apot import APoT, sums_of_powers


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_level_lists() -> None:
    """[X] 2 bits {0, .25, .5, 1}, 3 bits {0, .1, .2, .3, .4, .6, .8, 1}, 4 bits 16 levels."""
    assert sums_of_powers(1) == [0, 1]
    assert sums_of_powers(2) == [0, 0.25, 0.5, 1]
    assert sums_of_powers(3) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1])
    terms = product((0, 1, 2**-2, 2**-4), (0, 2**-1, 2**-3, 2**-5))  # the paper's, k = 2, n = 2
    assert sums_of_powers(4) == pytest.approx(sorted((a + b) / 1.5 for a, b in terms))


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_level_is_a_sum_of_few_powers_of_two(bits: int) -> None:
    levels = sums_of_powers(bits)
    assert len(set(levels)) == 2**bits
    least = min(value for value in levels if value)
    multiples = [round(value / least) for value in levels]
    assert [value / least for value in levels] == pytest.approx(multiples)
    assert max(number.bit_count() for number in multiples) == (bits + 1) // 2


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_have_a_symmetric_codebook_with_zero(bits: int) -> None:
    made = APoT(bit_width=bits, target="weight")
    w = normal(4000).float()
    codes, codebook = made.codes(w)
    assert len(codebook) == made.levels == 2**bits - 1
    assert torch.equal(codebook, -codebook.flip(0))
    assert codebook[len(codebook) // 2] == 0
    assert made(w).max() == made.clip  # the largest value is the clip
    if bits == 2:
        assert codebook.tolist() == [-3, 0, 3]


def nearest(y: Tensor, clip: float, levels: list[float]) -> Tensor:
    book = torch.tensor(levels, dtype=torch.float64) * clip
    return book[(y.unsqueeze(-1) - book).abs().argmin(-1)]


@pytest.mark.parametrize("masked", [True, False])
def test_weights_equal_the_equations_by_plain_autograd(masked: bool) -> None:
    w, clip = normal(16, 25) * 0.1, 1.5  # so low that some lie outside
    rule = "clipped" if masked else "identity"
    made = APoT(bit_width=4, target="weight", weight_backward=rule).double()
    made.clip.data.fill_(clip)
    ours = w.clone().requires_grad_()
    value = made(ours)
    (value * w.cos()).sum().backward()
    y = (w - w.mean()) / w.std(correction=0)
    magnitudes = sums_of_powers(3)
    levels = [-v for v in magnitudes] + magnitudes
    q = nearest(y.clamp(-clip, clip), clip, levels)
    assert torch.allclose(value, q, atol=1e-6)  # levels are float32
    inside = y.abs() <= clip
    slope = (inside if masked else torch.ones_like(inside)) / w.std(correction=0)
    assert torch.allclose(ours.grad, w.cos() * slope, atol=1e-9)
    toward_clip = torch.where(inside, q / clip - y / clip, y.sign())
    assert torch.allclose(made.clip.grad, (w.cos() * toward_clip).sum(), atol=1e-4)


def test_activations_equal_the_equations() -> None:
    x, clip = normal(50, 20) * 2, 1.5
    made = APoT(bit_width=3, target="activation").double()
    made.clip.data.fill_(clip)
    ours = x.clone().requires_grad_()
    value = made(ours)
    (value * x.cos()).sum().backward()
    q = nearest(x.clamp(0, clip), clip, sums_of_powers(3))
    assert torch.allclose(value, q, atol=1e-6)
    assert value.max() == clip
    inside = (x >= 0) & (x <= clip)
    assert torch.equal(ours.grad, x.cos() * inside)
    toward_clip = torch.where(inside, (q - x) / clip, (x > clip).double())
    assert torch.allclose(made.clip.grad, (x.cos() * toward_clip).sum(), atol=1e-4)


def test_signed_inputs_have_the_levels_of_weights() -> None:
    x = normal(4000).float() * 5
    made = APoT(bit_width=3, target="activation")
    made.initialize(x, nn.Identity(), x)
    assert sorted(set((made(x) / made.clip).tolist())) == [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]
