"""Flip sets on losses with a closed form (T8, T15 of the specification of the diagnostics)."""

import numpy as np
import pytest
import torch
from layer_networks import linear_probe as probe_of
from torch import Tensor

from qbench.diagnostics.flips import (
    Flips,
    draw_sets,
    fit,
    flips,
    neighbours,
    percent,
    respond,
)
from qbench.diagnostics.probe import Suffix
from qbench.quantizers.contract import decode

SETS = 256


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def problem(levels: int, size: int = 2000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, a codebook, and the gradients gamma and delta, correlated and not centred."""
    torch.manual_seed(levels)
    codes = torch.randint(0, levels, (20, size // 20))
    codebook = torch.linspace(-1, 1, levels, dtype=torch.float64) * 0.3
    delta = torch.randn(codes.shape, dtype=torch.float64) + 0.2
    gamma = 0.7 * delta + 0.6 * torch.randn(codes.shape, dtype=torch.float64)
    return codes, codebook, gamma, delta


def linear(levels: int, gradient: Tensor | None = None, share: float = 0.02) -> Flips:
    """Flip sets of the loss delta . W."""
    codes, codebook, gamma, delta = problem(levels)
    here = decode(codes, codebook)
    return respond(
        lambda weight: (delta * (weight - here)).sum(),
        gamma if gradient is None else gradient,
        codes,
        codebook,
        draw_sets(random(), codes.numel(), share, SETS),
    )


def closed_form(levels: int) -> tuple[float, float]:
    """r and slope of a random set: codes and directions are drawn evenly and independently."""
    codes, codebook, gamma, delta = problem(levels)
    moves = [values - decode(codes, codebook) for values in neighbours(codes, codebook)]
    a = torch.stack([gamma * move for move in moves]).flatten()
    y = torch.stack([delta * move for move in moves]).flatten()
    covariance = ((a - a.mean()) * (y - y.mean())).mean()
    return (
        float(covariance / (a.std(correction=0) * y.std(correction=0))),
        float(covariance / a.var(correction=0)),
    )


def fitted(found: Flips) -> tuple[float, float, float]:
    result = fit(found, random(1))
    assert result is not None
    return result.correlation, result.slope, result.offset


def test_neighbours_are_one_level_away_and_inward_at_an_edge() -> None:
    below, above = neighbours(torch.tensor([[0, 1, 2, 3]]), torch.tensor([0.0, 1.0, 3.0, 7.0]))
    assert below.tolist() == [[1.0, 0.0, 1.0, 3.0]]
    assert above.tolist() == [[1.0, 3.0, 7.0, 3.0]]


def test_neighbours_of_channels_with_levels_of_their_own_in_any_order() -> None:
    codebook = torch.tensor([[-1.0, 1.0], [2.0, -2.0]])  # the second channel's scale is negative
    below, above = neighbours(torch.tensor([[0, 1], [0, 1]]), codebook)
    assert below.tolist() == above.tolist() == [[1.0, -1.0], [-2.0, 2.0]]


@pytest.mark.parametrize(("share", "count"), [(0.05, 50), (0.002, 2), (1e-6, 1), (1.0, 1000)])
def test_a_set_has_its_share_of_coordinates_each_once(share: float, count: int) -> None:
    for chosen, up in draw_sets(random(), 1000, share, 5):
        assert chosen.unique().numel() == chosen.numel() == up.numel() == count
        assert 0 <= int(chosen.min()) <= int(chosen.max()) < 1000


def test_more_sets_begin_with_the_same() -> None:
    few, many = (list(draw_sets(random(), 500, 0.03, sets)) for sets in (3, 8))
    for one, other in zip(few, many, strict=False):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_coordinates_and_directions_are_drawn_evenly() -> None:
    drawn = list(draw_sets(random(), 40, 0.25, 2000))
    hits = torch.bincount(torch.cat([chosen for chosen, _ in drawn]), minlength=40)
    # 2000 sets hit a coordinate with probability 1/4: 500, sd 19.4; the largest of 40 within 4.5 sd
    assert (hits - 500).abs().max() < 4.5 * 19.4
    up = torch.cat([direction for _, direction in drawn]).double().mean()
    assert abs(float(up) - 0.5) < 4.5 * 0.5 / 20_000**0.5


@pytest.mark.parametrize("levels", [2, 4])
def test_the_true_gradient_of_a_linear_loss_foretells_exactly(levels: int) -> None:  # T8
    r, slope, offset = fitted(linear(levels, problem(levels)[3]))
    assert abs(r - 1) < 1e-10
    assert abs(slope - 1) < 1e-10
    assert abs(offset) < 1e-10


@pytest.mark.parametrize("levels", [2, 4])
def test_another_gradient_has_its_centred_correlation(levels: int) -> None:  # T8
    r, slope, offset = fitted(linear(levels))
    expected, expected_slope = closed_form(levels)
    error = (1 - expected**2) / SETS**0.5
    assert 0.5 < expected < 0.9  # a case that says something
    assert abs(r - expected) < 3 * error
    # slope = r sd(y) / sd(a), whose relative error is sqrt(1 / r^2 - 1) / sqrt(K)
    relative = (1 / expected**2 - 1) ** 0.5 / SETS**0.5
    assert abs(slope / expected_slope - 1) < 3 * relative


def test_a_random_gradient_foretells_nothing() -> None:  # T15
    torch.manual_seed(9)
    r, _, _ = fitted(linear(2, torch.randn(20, 100, dtype=torch.float64)))
    assert abs(r) < 3 / SETS**0.5


def test_a_negated_gradient_turns_the_signs() -> None:  # T15
    gamma = problem(4)[2]
    r, slope, _ = fitted(linear(4))
    assert np.allclose(fitted(linear(4, -gamma))[:2], (-r, -slope), rtol=1e-12)


def test_a_larger_gradient_lowers_the_slope_alone() -> None:  # T15
    gamma = problem(4)[2]
    r, slope, _ = fitted(linear(4))
    assert np.allclose(fitted(linear(4, 10 * gamma))[:2], (r, slope / 10), rtol=1e-12)


def test_an_offset_is_in_standard_deviations_of_the_loss() -> None:
    found = linear(2)
    shifted = Flips(found.predicted, found.predicted + 2.5 * found.predicted.std())
    assert np.allclose(fitted(shifted), (1, 1, 2.5), rtol=1e-10)


def test_standard_errors_are_those_of_repetitions() -> None:
    generator, rho, sets = random(5), 0.6, 64
    fits = []
    for _ in range(200):
        a, noise = generator.standard_normal((2, sets))
        result = fit(Flips(a, 3 * (rho * a + (1 - rho**2) ** 0.5 * noise) + 1.5), generator)
        assert result is not None
        fits.append(result)
    for quantity in ("correlation", "slope", "offset"):
        spread = np.std([getattr(one, quantity) for one in fits])
        said = np.mean([getattr(one, f"{quantity}_se") for one in fits])
        assert 0.8 < said / spread < 1.25, quantity  # the spread of 200 is known to 5 %


@pytest.mark.parametrize("flat", ["predicted", "actual"])
def test_nothing_is_said_where_nothing_varies(flat: str) -> None:
    assert fit(linear(2)._replace(**{flat: np.zeros(SETS)}), random()) is None


def test_percent_labels() -> None:
    assert [percent(share) for share in (0.002, 0.01, 0.05)] == ["0.2pct", "1pct", "5pct"]


def test_a_layers_flip_sets_are_computed_once() -> None:
    probe = probe_of("ste", 2)
    calls: list[int] = []
    with probe.undisturbed():
        probe.model.register_forward_hook(lambda *_: calls.append(1))
        many = flips(probe, "2", 0.05, 6)
        used = len(calls)
        again = flips(probe, "2", 0.05, 4)
    assert len(calls) == used
    assert np.array_equal(again.actual, many.actual[:4])
    assert np.array_equal(again.predicted, many.predicted[:4])


def test_all_methods_and_states_get_the_same_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []

    def loss(self: Suffix, weight: Tensor) -> Tensor:
        seen[-1].append((weight != self.weight).nonzero())
        return weight.sum()

    monkeypatch.setattr(Suffix, "loss", loss)
    for name, bits, seed in (("ste", 1, 0), ("lsq", 3, 0), ("ste", 1, 1)):
        probe = probe_of(name, bits, seed)
        torch.manual_seed(bits)  # torch's state has no say
        with probe.undisturbed():
            seen.append([])
            flips(probe, "2", 0.01, 5)
    one, other, reseeded = ([part.tolist() for part in sets] for sets in seen)
    assert one == other
    assert one != reseeded
    assert all(len(part) == 12 for part in one)  # 1 % of 1200
