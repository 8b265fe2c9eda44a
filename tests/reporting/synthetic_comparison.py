"""Comparisons made in memory: what result files would say, without writing any."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from qbench.reporting import compare
from qbench.reporting.collect import ACCURACY, TrialResult
from qbench.reporting.compare import Comparison
from qbench.study.plan import Cell, Plan
from qbench.study.trial import Trial

Outcome = float | str
"""A share of test images; or a state: ``failed``, ``refused``, ``missing``."""


def compared(plan: Plan, outcome: Callable[[Cell], Outcome]) -> Comparison:
    """The comparison of a plan whose trials ended so."""
    outcomes = {cell.trial.name: outcome(cell) for cell in plan.cells}

    def collected(trials: Iterable[Trial], results: Path) -> dict[str, TrialResult]:
        del results
        return {trial.name: _result(trial, outcomes[trial.name]) for trial in trials}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "collect", collected)
        return Comparison(plan, Path("nowhere"))


def _result(trial: Trial, outcome: Outcome) -> TrialResult:
    if isinstance(outcome, str):
        return TrialResult(trial, outcome, outcome)  # type: ignore[arg-type]
    return TrialResult(trial, "done", final={ACCURACY: (20, outcome)})
