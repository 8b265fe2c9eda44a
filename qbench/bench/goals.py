"""The figures to reach."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass

from qbench.bench.outcome import Record, Table

__all__ = ["GOALS", "Goal", "goal_table"]


@dataclass(frozen=True)
class Goal:
    """A figure, and how far it is to go."""

    key: str
    suite: str
    place: str
    what: str
    bound: float
    at_least: bool
    """Else at most."""
    unit: str = "x"

    def verdict(self, value: float | None) -> str:
        """``reached``, ``not reached`` or ``not measured yet``."""
        if value is None:
            return "not measured yet"
        meets = operator.ge if self.at_least else operator.le
        return "reached" if meets(value, self.bound) else "not reached"


_CPU, _GPU = "two CPU cores", "one GPU"
GOALS = (
    Goal("trial_daq_w4a4", "paper_style", _CPU,
         "whole trial, ResNet-20, DAQ W4A4, faster than paper style", 6.0, True),
    Goal("trial_ste_w1a32", "paper_style", _CPU,
         "whole trial, ResNet-20, ste W1A32, faster than paper style", 1.4, True),
    Goal("input", "input", _CPU, "input pipeline against PIL, one core", 15.0, True),
    Goal("occupancy", "harness", _CPU,
         "8 trials of about 30 s on two cores: span over half of their train+eval", 1.10, False),
    Goal("floor_float", "limits", _CPU,
         "float step of ResNet-20 over its floor, one thread", 1.4, False),
    Goal("daq_over_float", "step", _CPU,
         "DAQ W4A4 step of ResNet-20 over the float step, one thread", 2.0, False),
    Goal("gpu_trial", "gpu", _GPU,
         "whole trial, ResNet-20, batch 128, the slowest core method, captured, faster than "
         "paper style", 15.0, True),
    Goal("gpu_epoch", "gpu", _GPU,
         "an epoch of 50,000 images, ste and daq, W1A32, the slower", 0.35, False, " s"),
    Goal("gpu_side_by_side", "gpu", _GPU,
         "4 trials side by side, summed throughput against one alone", 1.5, True),
)  # fmt: skip
"""What the engine and the harness were built to reach."""


def goal_table(records: Iterable[Record]) -> Table:
    """Each goal with what was measured; quick runs do not count."""
    known: dict[str, float] = {}
    for record in records:
        if not record.quick:
            known |= record.outcome.figures
    rows = tuple(
        (
            goal.place,
            goal.what,
            f"{'≥' if goal.at_least else '≤'} {goal.bound:g}{goal.unit}",
            None if goal.key not in known else f"{known[goal.key]:.3g}{goal.unit}",
            goal.verdict(known.get(goal.key)),
            goal.suite,
        )
        for goal in GOALS
    )
    columns = ("on", "what", "to reach", "measured", "verdict", "suite")
    return Table("Figures to reach", columns, rows)
