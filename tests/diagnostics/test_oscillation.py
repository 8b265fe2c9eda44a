"""Oscillation and its efficiency: Nagel's tracker and the rates that theory gives."""

import pytest
import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.flip_efficiency import flip_efficiency
from qbench.diagnostics.oscillation import oscillation
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.window import Tracker, Window, track
from qbench.models.convert import quantize
from qbench.quantizers.ste import STE


def follow(codes: Tensor) -> tuple[Tensor, Tensor]:
    """f and the mean of o over the steps, of a history of codes ``[steps, weights]``."""
    tracker = Tracker(torch.zeros_like(codes[0], dtype=torch.int8), torch.zeros(codes.shape[1]))
    events = torch.zeros(codes.shape[1])
    for change in codes.diff(dim=0):
        tracker, oscillates = track(tracker, change)
        events += oscillates
    return tracker.frequency, events / (len(codes) - 1)


def test_t10_the_tracker_of_toggling_and_drifting_codes() -> None:
    steps = torch.arange(2_001)[:, None]
    period = torch.tensor([1, 5])
    toggling = (steps // period) % 2
    drift = steps // 10
    frequency, rate = follow(torch.cat([toggling, drift], 1))
    # the first change of a history opposes nothing: 1 event of 2000 less at period 1 and 5
    assert rate.tolist() == pytest.approx([1.0, 0.2, 0.0], abs=1e-3)  # T10
    assert frequency[0].item() == pytest.approx(1.0, abs=1e-3)  # T10; 0.99^2000 is left
    # the average moves by m = 0.01 at an event, and falls by 4 % until the next: 0.2 on average
    assert frequency[1].item() == pytest.approx(0.2, abs=0.01)
    assert frequency[2].item() == 0.0


def test_t10_the_average_of_f_over_a_period_is_the_rate() -> None:
    codes = (torch.arange(2_001)[:, None] // 5) % 2
    tracker = Tracker(torch.zeros(1, dtype=torch.int8), torch.zeros(1))
    late = []
    for change in codes.diff(dim=0):
        tracker, _ = track(tracker, change)
        late.append(tracker.frequency.item())
    assert sum(late[-100:]) / 100 == pytest.approx(0.2, abs=1e-3)  # T10


def test_t9_the_straight_through_estimator_oscillates_at_a_rate_of_its_own() -> None:
    """w <- w - lr (q(w) - w*): the rate is 2 min(pi, 1 - pi) at every learning rate."""
    wanted = torch.tensor([0.03, 0.1, 0.25, 0.4, 0.5], dtype=torch.float64)
    for rate in (0.01, 0.05):
        weight = torch.full_like(wanted, 0.5)  # a threshold, where training goes anyway
        codes = []
        for _ in range(5_001):
            codes.append((weight + 0.5).floor().short())
            weight = weight - rate * (codes[-1] - wanted)
        _, oscillates = follow(torch.stack(codes))
        expected = 2 * torch.minimum(wanted, 1 - wanted)
        assert oscillates.tolist() == pytest.approx(expected.tolist(), abs=2e-3)  # T9
        assert ((weight - 0.5).abs() <= rate).all()  # the latent stays at its threshold


def measured(signs: list[list[int]]) -> Measurement:
    """A network whose one-bit weights had these signs, step by step."""
    model = nn.Sequential(nn.Linear(len(signs[0]), 1, bias=False))
    quantize(
        model, weights=lambda: STE(bit_width=1, target="weight"), activations=None, keep_float=[]
    )
    window = Window(model, length=len(signs) - 1, steps_per_epoch=len(signs) - 1)
    memory: dict[str, Tensor] = {}
    for done, row in enumerate(signs):
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([row]).float())
        window.see(memory, len(signs) - 1 - done)
    probe = Probe(model, torch.randn(2, len(signs[0])), torch.tensor([0, 0]), seed=0)
    return Measurement(probe, 1, ("0",), lambda: [], lambda: [], memory)


def test_the_diagnostics_read_the_window() -> None:
    weights = [[1, 1, 1], [-1, 1, 1], [1, 1, -1], [-1, 1, -1], [1, 1, -1]]
    measurement = measured(weights)
    values = {one.name: one.value.item() for one in oscillation(measurement)}
    # the first weight turns 4 times, 3 of them back; the third turns once
    assert values["dynamics/oscillation_rate"] == pytest.approx(3 / 12)
    assert values["dynamics/oscillating"] == pytest.approx(1 / 3)  # 3 events: f = 0.0297
    values = {one.name: one.value.item() for one in flip_efficiency(measurement)}
    assert values["dynamics/flip_efficiency"] == pytest.approx(1 / 5)  # one of five moves is kept
    assert values["dynamics/window_change"] == pytest.approx(1 / 3)  # the third weight's


def test_threshold_of_single_events() -> None:
    measurement = measured([[1, 1], [-1, 1], [1, 1], [1, 1]])
    (_, often) = oscillation(measurement)
    assert often.value.item() == 0
    (_, once) = oscillation(measurement, threshold=0.005)
    assert once.value.item() == 0.5


def test_still_codes_have_no_efficiency_and_no_window_means_no_reading() -> None:
    still = measured([[1, -1], [1, -1]])
    (change,) = flip_efficiency(still)
    assert (change.name, change.value.item()) == ("dynamics/window_change", 0)
    assert [one.value.item() for one in oscillation(still)] == [0, 0]
    still.memory.clear()
    assert not list(oscillation(still))
    assert not list(flip_efficiency(still))
