"""LSQ+: Bhalgat et al. 2020, and its reduction to LSQ."""

import pytest
import torch
from torch import nn

from qbench.quantizers.lsq import LSQ
from qbench.quantizers.lsq_plus import LSQPlus


def normal(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def plus(bits: int, step: float, offset: float) -> LSQPlus:
    made = LSQPlus(bit_width=bits, target="activation", gradient_scale=False)
    made.initialize(torch.rand(4, 8), nn.Identity(), torch.rand(4, 8))
    made.step.data.fill_(step)
    made.offset.data.fill_(offset)
    return made


def test_the_offset_gets_the_gradient_of_what_is_clipped() -> None:
    """[X] dbeta = 1 only for clipped inputs."""
    made = plus(2, 0.5, -0.3)  # the grid is -0.3 … 1.2
    for x, expected in {-1.0: 1.0, -0.2: 0.0, 0.55: 0.0, 1.1: 0.0, 3.0: 1.0}.items():
        made.offset.grad = None
        made(torch.tensor([x])).sum().backward()
        assert made.offset.grad.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [True, False])
def test_without_an_offset_it_is_lsq(scale: bool) -> None:
    """Section 3.5: LSQ+(offset 0) = LSQ where the range is the same."""
    x = normal(512).relu().view(8, 64)
    pair = [kind(bit_width=3, target="activation", gradient_scale=scale) for kind in (LSQPlus, LSQ)]
    inputs = [x.clone().requires_grad_() for _ in pair]
    for made, own in zip(pair, inputs, strict=True):
        made.initialize(x, nn.Identity(), x)
        made.step.data.fill_(0.37)
        if made.offset is not None:
            made.offset.data.zero_()
        (made(own) * x.cos()).sum().backward()
    assert torch.equal(pair[0](x), pair[1](x))
    assert torch.equal(pair[0].codes(x)[0], pair[1].codes(x)[0])
    assert torch.equal(inputs[0].grad, inputs[1].grad)
    assert torch.equal(pair[0].step.grad, pair[1].step.grad)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_lsq_s_from_another_start(bits: int) -> None:
    weight = normal(2000) * 0.1 + 0.02
    made = LSQPlus(bit_width=bits, target="weight")
    made.initialize(weight, nn.Identity(), weight)
    assert made.offset is None
    mean, deviation = weight.mean(), weight.std(correction=0)
    reach = max((mean - 3 * deviation).abs().item(), (mean + 3 * deviation).abs().item())
    assert made.step.item() == pytest.approx(reach / 2 ** (bits - 1), rel=1e-5)
    other = LSQ(bit_width=bits, target="weight")
    other.step.data.copy_(made.step.data)
    assert torch.equal(made(weight), other(weight))


@pytest.mark.parametrize("shift", [0.0, -0.3])
def test_activations_start_with_a_smaller_error_than_the_grid_as_wide_as_the_values(
    shift: float,
) -> None:
    x = normal(20_000).relu() + shift
    made = LSQPlus(bit_width=2, target="activation")
    made.initialize(x, nn.Identity(), x)
    error = (made.deployed(x) - x).square().mean()
    widest = plus(2, (x.max() - x.min()).item() / 3, x.min().item())
    codes, _ = widest.codes(torch.stack([x.min(), x.max()]))
    assert codes.tolist() == [0, 3]  # the range covers the values
    assert error < 0.5 * (widest.deployed(x) - x).square().mean()  # a third of it is clipped


def test_the_option_of_lsq_is_the_same_method() -> None:
    x = normal(400)
    option = LSQ(bit_width=4, target="activation", offset=True)
    method = LSQPlus(bit_width=4, target="activation")
    for made in (option, method):
        made.initialize(x, nn.Identity(), x)
    assert torch.equal(option(x), method(x))


def test_signed_inputs_use_all_levels() -> None:
    x = normal(4000)
    made = LSQPlus(bit_width=3, target="activation")
    made.initialize(x, nn.Identity(), x)
    assert len(made.codes(x)[0].unique()) == 8
    assert made.deployed(x).min() < -1  # levels on both sides of 0
