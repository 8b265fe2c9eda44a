"""Phases add up to the time that passed, nested or not."""

import pytest

from qbench.training import clock
from qbench.training.clock import PhaseClock


def test_an_inner_phase_is_taken_off_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0, 5.0, 9.0])  # train from 0 to 9, with a checkpoint from 3 to 5
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(ticks))
    phases = PhaseClock()
    with phases.phase("train"), phases.phase("checkpoint"):
        pass
    rows = {row.phase: row.seconds for row in phases.take(1)}
    assert rows == {"train": 7.0, "checkpoint": 2.0}
    assert phases.take(2) == []
