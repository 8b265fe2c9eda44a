"""DiffQ: Defossez, Adi, Synnaeve 2021, equations 2 to 7."""

import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.diffq import DiffQ


def made(weight: Tensor, bits: int, size_weight: float = 10.0) -> DiffQ:
    torch.manual_seed(0)
    quantizer = DiffQ(bit_width=bits, target="weight", size_weight=size_weight)
    quantizer.initialize(weight, nn.Identity(), weight)
    return quantizer


def uniform(*shape: int) -> Tensor:
    """From -1 to 1, both ends included."""
    weight = torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    weight[0, 0], weight[0, 1] = -1, 1
    return weight


def test_the_noise_is_half_a_step_wide_and_without_bias() -> None:
    """[X] std Delta / 2, mean 0; rounding's own error has Delta / sqrt(12), 1.73 times less."""
    weight = uniform(4, 50_000)
    quantizer = made(weight, 4)
    noise = quantizer(weight).detach() - weight
    step = 2 / (2 ** (2 + 0.9 * 2) - 1)  # b = 2 + 0.9 (4 - 2) at the start
    assert noise.std().item() == pytest.approx(step / 2, rel=0.01)  # 200,000 values
    assert abs(noise.mean().item()) < 5 * step / 2 / 200_000**0.5
    quantizer.logits.data.fill_(30.0)  # four bits
    rounding = quantizer.deployed(weight) - weight
    assert rounding.std().item() == pytest.approx(2 / 15 / 12**0.5, rel=0.01)
    assert torch.equal(quantizer.deployed(weight).unique(), quantizer.codes(weight)[1].unique())


def test_the_gradient_of_the_bits_is_that_of_the_equation() -> None:
    weight = uniform(3, 40)
    quantizer = made(weight, 6)
    own = weight.clone().requires_grad_()
    torch.manual_seed(1)
    value = quantizer(own)
    (value * weight.cos()).sum().backward()
    assert torch.equal(own.grad, weight.cos())
    share = torch.sigmoid(quantizer.logits.detach())
    bits = 2 + 4 * share
    toward_bits = -torch.tensor(2.0).log() * 2**bits / (2**bits - 1)
    toward_bits = toward_bits * (weight.cos() * (value.detach() - weight)).sum(1)
    expected = toward_bits * 4 * share * (1 - share)
    assert torch.allclose(quantizer.logits.grad, expected, rtol=1e-4)


def test_the_size_rises_with_the_bits() -> None:
    weight = uniform(16, 64)
    quantizer = made(weight, 8)
    sizes = []
    for logit in (-30.0, -1.0, 0.0, 1.0, 30.0):
        quantizer.logits.data.fill_(logit)
        sizes.append(quantizer.penalty(weight).item())
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(10 * 2 * 16 * 64 / 8 / 2**20)  # two bits each
    assert sizes[-1] == pytest.approx(10 * 8 * 16 * 64 / 8 / 2**20)


@pytest.mark.parametrize(("size_weight", "up"), [(0.0, True), (1e6, False)])
def test_the_task_drives_bits_up_and_the_size_down(size_weight: float, up: bool) -> None:
    """[X] Without a price bits drift up, with a large one down."""
    weight = uniform(8, 64)
    quantizer = made(weight, 8, size_weight)
    quantizer.logits.data.zero_()
    before = quantizer.readings()["bits"].item()
    for _ in range(30):
        quantizer.logits.grad = None
        task = (quantizer(weight) - weight).square().sum()  # what noise costs
        (task + quantizer.penalty(weight)).backward()
        quantizer.logits.data -= 1e-2 * quantizer.logits.grad.sign()  # Adam's first step
    assert (quantizer.readings()["bits"].item() > before) == up


def test_filters_use_their_own_bits_and_never_more_than_declared() -> None:
    weight = uniform(3, 400)
    quantizer = made(weight, 4)
    quantizer.logits.data.copy_(torch.tensor([-30.0, 0.0, 30.0]))  # 2, 3 and 4 bits
    codes, codebook = quantizer.codes(weight)
    assert codes.amax(1).tolist() == [3, 7, 15]
    assert codebook.shape == (3, 16)
    for row, bits in enumerate((2, 3, 4)):
        step = 2 / (2**bits - 1)
        assert torch.allclose(codebook[row].unique(), -1 + step * torch.arange(2.0**bits))
        assert (quantizer.deployed(weight)[row] - weight[row]).abs().max() <= step / 2 + 1e-6


def test_training_and_deployment_differ_by_design() -> None:
    """[X] .27 in relative mean at about four bits."""
    weight = torch.randn(8, 500, generator=torch.Generator().manual_seed(0))
    quantizer = made(weight, 4)
    gap = (quantizer(weight) - quantizer.deployed(weight)).abs().mean() / weight.abs().mean()
    assert 0.1 < gap.item() < 0.5
    assert not quantizer.trains_hard
    assert not torch.equal(quantizer(weight), quantizer(weight))


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(UsageError, match="0 or more"):
        DiffQ(bit_width=4, target="weight", size_weight=-1.0)
