"""ProxQuant, BinaryRelax and PARQ: maps, schedules, and what they reduce to."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.binary_basis import residual_levels
from qbench.quantizers.binaryrelax import BinaryRelax
from qbench.quantizers.contract import Progress
from qbench.quantizers.parq import PARQ
from qbench.quantizers.proxquant import ProxQuant
from qbench.quantizers.ste import STE


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def at(step: int, total: int = 100) -> Progress:
    return Progress(step, total, step, total, learning_rate=0.1)


# --- levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_levels_are_all_signed_sums_of_the_greedy_basis(bits: int) -> None:
    weight = normal(3, 40).double()
    for row, levels in zip(weight.numpy(), residual_levels(weight, bits).numpy(), strict=True):
        rest, sizes = row.copy(), []
        for _ in range(bits):
            sizes.append(np.abs(rest).mean())
            rest -= sizes[-1] * np.where(rest >= 0, 1, -1)
        sums = [np.dot(signs, sizes) for signs in itertools.product((-1, 1), repeat=bits)]
        np.testing.assert_allclose(levels, sorted(sums), atol=1e-12)


def test_levels_rise_where_the_second_size_is_the_larger() -> None:
    levels = residual_levels(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), 2)
    # v1 = 1/4, then mean of 3/4, -1/4, -1/4, -1/4 without signs: v2 = 3/8
    assert levels.tolist() == [[-0.625, -0.125, 0.125, 0.625]]


# --- PARQ (B17) and BinaryRelax (B16) -------------------------------------------------------------


def parq(bits: int, softness: float, kind: type[PARQ] = PARQ) -> PARQ:
    made = kind(bit_width=bits, target="weight")
    made.softness.fill_(softness)
    return made


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_parq_at_rho_1_leaves_what_is_inside_and_clips_outside(bits: int) -> None:
    weight = normal(4, 50)
    levels = residual_levels(weight, bits)
    expected = weight.clamp(levels[:, :1], levels[:, -1:])
    assert torch.allclose(parq(bits, 1.0)(weight), expected, atol=1e-6)  # m + (w - m), rounded


@pytest.mark.parametrize("softness", [0.0, 1e-7])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_parq_at_rho_0_takes_the_nearest_level(bits: int, softness: float) -> None:
    weight = normal(4, 50)
    levels = residual_levels(weight, bits)
    distance = (weight[:, :, None] - levels[:, None]).abs()
    nearest = levels.gather(1, distance.argmin(2))
    assert torch.equal(parq(bits, softness)(weight), nearest)


def test_parq_is_the_map_of_the_paper_between() -> None:
    weight = normal(2, 30).double()
    levels = residual_levels(weight, 2)
    value = parq(2, 0.25).double()(weight)
    for u, q, row in zip(weight.flatten(), value.flatten(), levels.repeat_interleave(30, 0),
                         strict=True):  # fmt: skip
        assert q.item() == pytest.approx(mapped_by_parq(u.item(), row.tolist(), 0.25), abs=1e-12)


def mapped_by_parq(u: float, levels: list[float], rho: float) -> float:
    inner = [i for i in range(len(levels) - 1) if levels[i] <= u]
    low = inner[-1] if inner else 0
    a, b = levels[low], levels[low + 1]
    middle = (a + b) / 2
    if rho == 0:
        return b if u >= middle else a
    return min(max(middle + (u - middle) / rho, a), b)


def mapped_by_relaxing(u: float, levels: list[float], rho: float) -> float:
    return rho * u + (1 - rho) * mapped_by_parq(u, levels, 0.0)


@pytest.mark.parametrize("kind", [PARQ, BinaryRelax])
def test_softness_falls_from_1_to_0_and_stays(kind: type[PARQ]) -> None:
    made = kind(bit_width=2, target="weight", anneal_over=0.5)
    seen = []
    for step in range(0, 101, 5):
        made.set_progress(at(step))
        seen.append(made.softness.item())
    assert seen[0] == 1
    assert seen[10:] == [0.0] * 11  # half of 100 steps
    assert all(first > second for first, second in itertools.pairwise(seen[:11]))
    assert seen[5] == pytest.approx(0.5)  # the middle of a symmetric fall


def test_steepness_is_that_of_a_sigmoid() -> None:
    made = PARQ(bit_width=1, target="weight", steepness=20.0, anneal_over=1.0)
    made.set_progress(at(75))
    assert made.softness.item() == pytest.approx(1 / (1 + math.exp(5)), abs=1e-4)  # ends cut 5e-5


@pytest.mark.parametrize("kind", [PARQ, BinaryRelax])
def test_annealed_one_bit_weights_are_those_of_binary_connect(kind: type[PARQ]) -> None:
    """Section 3.5: hard forward with greedy levels, identity gradient."""
    weight = normal(6, 4, 3, 3).requires_grad_()
    made = kind(bit_width=1, target="weight", anneal_over=0.0)
    same = STE(bit_width=1, target="weight")  # mean|w| sign(w) of each channel, identity
    assert torch.equal(made(weight), same(weight))
    made(weight).square().sum().backward()
    ours, weight.grad = weight.grad, None
    same(weight).square().sum().backward()
    assert torch.equal(ours, weight.grad)


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "mapped"), [(PARQ, mapped_by_parq), (BinaryRelax, mapped_by_relaxing)]
)
def test_it_is_the_proximal_optimizer(kind: type[PARQ], mapped: object, bits: int) -> None:
    """Section 3.5: gradient at w = prox(u), momentum steps on u; 200 steps in float64."""
    inputs, targets = normal(16, 5).double(), normal(16, 3, seed=1).double()
    made = kind(bit_width=bits, target="weight").double()
    latent = nn.Parameter(normal(3, 5, seed=2).double())
    optimizer = torch.optim.SGD([latent], lr=0.02, momentum=0.9)
    u, velocity = latent.detach().numpy().copy(), np.zeros((3, 5))
    for step in range(200):
        made.set_progress(at(step, 200))
        loss = (inputs @ made(latent).T - targets).square().sum() / 16
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        levels = residual_levels(torch.from_numpy(u), bits).tolist()
        rho = made.softness.item()
        w = np.array([[mapped(v, row, rho) for v in values]
                      for values, row in zip(u, levels, strict=True)])  # fmt: skip
        gradient = 2 / 16 * (inputs.numpy() @ w.T - targets.numpy()).T @ inputs.numpy()
        velocity = 0.9 * velocity + gradient
        u = u - 0.02 * velocity
    assert np.abs(latent.detach().numpy() - u).max() < 1e-9  # rounding, times slopes up to 1 / rho


def test_relaxing_mixes_weight_and_level() -> None:
    weight = torch.tensor([[0.2, -0.4, 0.6, -1.2]])  # levels -0.6, 0.6
    assert parq(1, 1.0, BinaryRelax)(weight).tolist() == weight.tolist()
    expected = torch.tensor([[0.3, -0.45, 0.6, -1.05]])  # a quarter of the way
    assert torch.allclose(parq(1, 0.75, BinaryRelax)(weight), expected)


@pytest.mark.parametrize("options", [{"steepness": 0.0}, {"anneal_over": 1.5}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="anneal_over"):
        PARQ(bit_width=1, target="weight", **options)


# --- ProxQuant (B16) ------------------------------------------------------------------------------


def proxquant(bits: int, **options: float) -> ProxQuant:
    return ProxQuant(bit_width=bits, target="weight", **options)


def test_the_one_bit_map_pulls_towards_the_sign() -> None:
    weight = torch.tensor([0.2, -0.4, 1.5, -1.05])
    pulled = proxquant(1).pulled(weight, torch.tensor(0.1))
    assert torch.allclose(pulled, torch.tensor([0.3, -0.5, 1.4, -1.0]))  # spec, B16
    assert torch.equal(proxquant(1).pulled(weight, torch.tensor(0.0)), weight)
    assert proxquant(1).pulled(weight, torch.tensor(0.9)).tolist() == [1, -1, 1, -1]  # gaps < 0.9


def test_the_two_bit_map_is_that_of_the_squared_distance() -> None:
    weight = torch.tensor([0.5, 1.0, 0.0, 0.1, -0.9, -0.2])
    # 0.7 mean|w| = 0.315: the mean above is 0.75, below -0.9; each side has its own
    expected = torch.tensor([0.75, 0.75, 0.0, 0.0, -0.9, 0.0])
    made = proxquant(2)
    assert torch.allclose(made.deployed(weight), expected)
    pulled = made.pulled(weight, torch.tensor(0.5))
    assert torch.allclose(pulled, (weight + 0.5 * expected) / 1.5)


def test_after_a_step_the_weight_is_pulled_and_clipped() -> None:
    weight = nn.Parameter(torch.tensor([0.2, -3.0, 0.0]))
    made = proxquant(1)
    made.strength.fill_(0.1)
    made.after_step(weight)
    assert torch.allclose(weight, torch.tensor([0.3, -1.0, 0.1]))  # sign(0) = +1


def test_the_pulls_of_all_steps_add_up() -> None:
    made, pulls = proxquant(1, pull=3.0, freeze_at=0.5), []
    for step in range(100):
        made.set_progress(at(step))
        if not made.frozen:
            pulls.append(made.strength.item())
    assert len(pulls) == 50
    assert sum(pulls) == pytest.approx(3.0, rel=1e-5)  # of float32 numbers
    assert np.allclose(np.diff(pulls, 2), 0, atol=1e-7)  # linear


def test_frozen_weights_are_deployed_and_stand_still() -> None:
    weight = nn.Parameter(0.1 * normal(4, 9))
    made = proxquant(1)
    made.set_progress(at(66))
    assert torch.equal(made(weight), weight)
    gap = (made(weight) - made.deployed(weight)).norm() / made.deployed(weight).norm()
    assert gap > 0.7  # weights that the map has not reached are far from -1 and 1
    made.set_progress(at(67))
    assert torch.equal(made(weight), made.deployed(weight))
    assert not made(weight).requires_grad
    before = weight.detach().clone()
    made.after_step(weight)
    assert torch.equal(weight, before)


def test_a_whole_pull_leaves_only_levels() -> None:
    weight = nn.Parameter(0.1 * normal(4, 9))
    made = proxquant(1)
    for step in range(67):
        made.set_progress(at(step))
        made.after_step(weight)
    assert torch.equal(weight.abs(), torch.ones(4, 9))
