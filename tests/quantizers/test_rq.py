"""Relaxed quantization, CPQ and DropBits: probabilities, samples, gradients, reductions."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import logistic
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.cpq import CPQ
from qbench.quantizers.drop_bits import BitMask
from qbench.quantizers.relaxed_rounding import grid_logits, relaxed_rounding
from qbench.quantizers.rq import RQ

GRID = torch.arange(-2.0, 2.0)  # of two bits
ENDS = {"lowest": torch.tensor(-2.0), "highest": torch.tensor(1.0)}


def shares(v: float, spread: float, mask: Tensor | None = None) -> Tensor:
    upper, lower = (GRID + 0.5 - v) / spread, (v - GRID + 0.5) / spread
    return grid_logits(upper, lower, mask).softmax(0)


@pytest.mark.parametrize("v", [-1.9, -0.7, 0.0, 0.2, 1.4])
@pytest.mark.parametrize("spread", [0.1, 1 / 3, 2.0])
def test_probabilities_are_those_of_logistic_noise(v: float, spread: float) -> None:
    cells = np.diff(logistic.cdf((np.arange(-2.5, 2.0) - v) / spread))
    found = shares(v, spread)
    np.testing.assert_allclose(found, cells / cells.sum(), rtol=1e-4, atol=1e-7)
    assert found.sum().item() == pytest.approx(1)
    assert GRID[found.argmax()].item() == round(v)  # the mode is the nearest point


def test_far_outside_the_grid_the_outermost_point_is_certain() -> None:
    """The hazard of B20: cells' probabilities are all 0 in float32 there."""
    assert shares(30.0, 0.05)[-1].item() == 1
    value = relaxed_rounding(torch.tensor([-1e6, 30.0, 1e6]), torch.tensor(0.05), window=4, **ENDS)
    # held at the outer end of the outermost cell, where the next point's share is below 1e-8
    assert torch.allclose(value, torch.tensor([-2.0, 1.0, 1.0]))


def test_without_noise_a_point_inside_is_certain() -> None:
    v = torch.tensor([-1.3, -0.4, 0.3, 0.9])
    value = relaxed_rounding(v, torch.tensor(0.01), window=4, **ENDS)
    assert torch.allclose(value, v.round(), atol=1e-4)  # e^-10 at a tenth from a threshold


def test_a_cold_sample_is_a_grid_point_and_follows_the_probabilities() -> None:
    torch.manual_seed(0)
    v = torch.full((20_000,), 0.3)
    value = relaxed_rounding(
        v, torch.tensor(1 / 3), window=4, temperature=1e-4, sampled=True, **ENDS
    )
    assert ((value - value.round()).abs() > 1e-3).double().mean() < 1e-3  # near-ties of the noise
    for point, share in zip(GRID, shares(0.3, 1 / 3), strict=True):
        found = (value.round() == point).double().mean().item()
        assert found == pytest.approx(share.item(), abs=4 * 0.5 / 20_000**0.5)  # 4 sd at most


def test_a_hard_sample_is_the_largest_share_of_the_relaxed_one() -> None:
    v = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    hard = relaxed_rounding(v, torch.tensor(0.3), window=4, sampled=True, hard=True, **ENDS)
    torch.manual_seed(1)
    cold = relaxed_rounding(v, torch.tensor(0.3), window=4, temperature=1e-4, sampled=True, **ENDS)
    assert torch.allclose(hard, cold.round())


@pytest.mark.parametrize("sampled", [False, True])
def test_slopes_are_those_of_the_paper(sampled: bool) -> None:
    """Float64 autograd of F - F, log, noise, softmax."""
    v = (torch.randn(50, generator=torch.Generator().manual_seed(0)) * 0.8).double()
    gradient = torch.linspace(-1, 2, 50).double()
    ours, theirs = v.clone().requires_grad_(), v.clamp(-2.5, 1.5).requires_grad_()
    spread = torch.tensor(0.4).double().requires_grad_()
    other = spread.detach().clone().requires_grad_()
    mask = torch.tensor([0.3, 1.0, 1.0, 0.8]).double().requires_grad_()
    other_mask = mask.detach().clone().requires_grad_()
    ends = {name: end.double() for name, end in ENDS.items()}
    torch.manual_seed(0)
    value = relaxed_rounding(ours, spread, mask, window=4, temperature=0.7, sampled=sampled, **ends)
    torch.manual_seed(0)
    grid = GRID.double().view(4, 1)
    noise = -torch.empty(4, 50).double().exponential_().log() if sampled else 0.0
    cells = torch.sigmoid((grid + 0.5 - theirs) / other) - torch.sigmoid(
        (grid - 0.5 - theirs) / other
    )
    shares = (((cells * other_mask.view(4, 1)).log() + noise) / 0.7).softmax(0)
    expected = (shares * grid).sum(0)
    assert torch.allclose(value, expected, atol=1e-9)  # rounding of the difference of sigmoids
    value.backward(gradient)
    expected.backward(gradient)
    inside = (v > -2.5) & (v < 1.5)
    assert torch.allclose(ours.grad, theirs.grad * inside, atol=1e-8)
    assert torch.allclose(spread.grad, other.grad, atol=1e-7)
    assert torch.allclose(mask.grad, other_mask.grad, atol=1e-8)


def test_a_masked_point_has_no_share() -> None:
    found = shares(-2.0, 0.3, torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert found[0] == 0
    assert found.sum().item() == pytest.approx(1)


def made(kind: type[RQ], target: str, bits: int, **options: object) -> tuple[RQ, Tensor]:
    x = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    x = x if target == "weight" else x.relu()
    quantizer = kind(bit_width=bits, target=target, **options)
    with torch.no_grad():
        quantizer.initialize(x, nn.Identity(), x)
    return quantizer, x


@pytest.mark.parametrize("target", ["weight", "activation"])
def test_the_step_at_the_start_has_the_least_error(target: str) -> None:
    quantizer, x = made(RQ, target, 3)
    assert quantizer.lowest.item() == (-4 if target == "weight" else 0)
    error = (quantizer.deployed(x) - x).square().mean()
    for factor in (0.9, 1.1):
        with torch.no_grad():
            quantizer.log_step += math.log(factor)
            assert (quantizer.deployed(x) - x).square().mean() > error
            quantizer.log_step -= math.log(factor)
    assert (quantizer.log_step - quantizer.log_noise).exp().item() == pytest.approx(3)


@pytest.mark.parametrize("target", ["weight", "activation"])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_rq_is_random_in_training_and_the_nearest_level_in_evaluation(
    target: str, bits: int
) -> None:
    quantizer, x = made(RQ, target, bits)
    torch.manual_seed(0)
    first = quantizer(x)
    assert not torch.equal(first, quantizer(x))
    torch.manual_seed(0)
    assert torch.equal(first, quantizer(x))
    quantizer.eval()
    assert torch.equal(quantizer(x), quantizer.deployed(x))


def test_hard_samples_are_levels() -> None:
    quantizer, x = made(RQ, "weight", 4, sample="hard")
    value = quantizer(x)
    _, levels = quantizer.codes(x)
    assert torch.isin(value, levels).all()
    assert not torch.equal(value, quantizer.deployed(x))


def test_noise_and_step_get_gradients() -> None:
    quantizer, x = made(RQ, "weight", 2)
    (quantizer(x) - x).square().sum().backward()
    assert quantizer.log_step.grad.abs() > 0
    assert quantizer.log_noise.grad.abs() > 0


@pytest.mark.parametrize("target", ["weight", "activation"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_cpq_trains_with_what_it_deploys(target: str, bits: int) -> None:
    quantizer, x = made(CPQ, target, bits)
    assert torch.equal(quantizer(x), quantizer.deployed(x))


def test_cpq_and_rq_deploy_the_same() -> None:
    """Section 3.5; of weights within the symmetric grid."""
    for target in ("weight", "activation"):
        cpq, x = made(CPQ, target, 3)
        rq, _ = made(RQ, target, 3)
        with torch.no_grad():
            rq.log_step.copy_(cpq.log_step)
        inside = x.abs() < 3 * cpq.step
        assert torch.equal(cpq.deployed(x)[inside], rq.deployed(x)[inside])


def test_the_gradient_of_cpq_is_that_of_the_mean() -> None:
    quantizer, x = made(CPQ, "weight", 3)
    x = x.requires_grad_()
    quantizer(x).sum().backward()
    ours, x.grad = x.grad, None
    step = quantizer.step.detach()
    spread = quantizer.log_noise.detach().exp() / step
    ends = {"lowest": quantizer.lowest, "highest": quantizer.highest}
    (step * relaxed_rounding(x / step, spread, window=7, **ends)).sum().backward()
    assert torch.allclose(ours, x.grad)


def test_dropping_no_bit_is_cpq() -> None:
    """Section 3.5: all masks 1, no penalty."""
    plain, x = made(CPQ, "weight", 4)
    dropping, _ = made(CPQ, "weight", 4, drop_bits=True)
    assert not dropping.trains_hard
    with torch.no_grad():
        dropping.mask.logits.fill_(50.0)
    gradients = []
    for quantizer in (plain, dropping):
        weight = x.clone().requires_grad_()
        value = quantizer(weight)
        assert torch.equal(value, plain.deployed(x))
        value.square().sum().backward()
        gradients.append((weight.grad, quantizer.log_step.grad, quantizer.log_noise.grad))
        assert quantizer.penalty(weight) is None
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second, rtol=1e-5, atol=1e-7)
    assert torch.equal(plain.codes(x)[0], dropping.codes(x)[0])


def test_a_dropped_bit_leaves_the_grid_of_fewer_bits() -> None:
    quantizer, x = made(CPQ, "weight", 4, drop_bits=True)
    for logits, most in (([50.0, 50.0], 7), ([50.0, -50.0], 3), ([-50.0, 50.0], 1)):
        with torch.no_grad():
            quantizer.mask.logits.copy_(torch.tensor(logits))
        codes, levels = quantizer.codes(100 * x)  # beyond all levels
        places = (levels[codes] / quantizer.step.detach()).round()
        assert places.abs().max().item() == most
        drawn = quantizer(100 * x) / quantizer.step.detach()
        assert drawn.abs().max().item() == pytest.approx(most)
        quantizer.eval()
        assert torch.equal(quantizer(x), quantizer.deployed(x))
        quantizer.train()


def test_masks_follow_the_hard_concrete_distribution() -> None:
    mask = BitMask(4)
    torch.manual_seed(0)
    with torch.no_grad():
        mask.logits.copy_(torch.tensor([0.5, -0.5]))
        drawn = torch.stack([mask.drawn() for _ in range(4000)])
        assert drawn.shape == (4000, 15)
        assert (drawn[:, 6:9] == 1).all()  # -1, 0, 1
        assert torch.equal(drawn, drawn.flip(1))  # in pairs
        assert (drawn[:, 0] <= drawn[:, 4]).all()  # a bit outside is never kept without that inside
        kept = (drawn[:, [9, 11]] > 0).double().mean(0).sum().item()  # of 2 and of 4
        assert kept == pytest.approx(mask.expected().item(), abs=4 * 2 * 0.5 / 4000**0.5)  # 4 sd


def test_the_penalty_drops_bits_and_the_task_can_keep_them() -> None:
    quantizer, x = made(CPQ, "weight", 3, drop_bits=True, drop_penalty=0.5)
    penalty = quantizer.penalty(x)
    assert penalty.item() == pytest.approx(0.5 * quantizer.mask.expected().item())
    penalty.backward()
    assert (quantizer.mask.logits.grad > 0).all()  # descent lowers the odds
    quantizer.mask.logits.grad = None
    torch.manual_seed(0)
    with torch.no_grad():
        quantizer.mask.logits.fill_(0.0)  # mostly between 0 and 1, where masks have a slope
    for _ in range(20):
        (quantizer(3 * x) - 3 * x).square().sum().backward()
    assert (quantizer.mask.logits.grad < 0).all()  # large weights need the outer points


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="temperature=0"):
        RQ(bit_width=2, target="weight", temperature=0.0)
    with pytest.raises(UsageError, match="drop_penalty=-1"):
        CPQ(bit_width=2, target="weight", drop_penalty=-1.0)
