"""Tuned studies with planted scores: which learning rate is best, who fails, who is fragile."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthetic_comparison import compared
from synthetic_results import write_trial

from qbench.growth import Growth
from qbench.reporting.compare import Comparison
from qbench.reporting.searches import RATE, Reading, Searches
from qbench.store import Failure, Row, TrialFolder
from qbench.study.expand import expand
from qbench.study.plan import Plan
from qbench.study.schema import Study
from qbench.study.trial import Trial
from qbench.tuning.tuner import Tuner
from qbench.tuning.walk import FAILED

TRIALS, ROUNDS, EPOCHS = 12, 3, 20
BEST, ONLY = 0.3, 0.1
"""The learning rate that is best for all, and the one near which dorefa works."""
SECONDS = 3.0
"""Of a trial of a search."""


def study(**changes: Any) -> Study:
    """Four rows in one setting, with the learning rate from 0.001 to 1 as their one knob."""
    tuning = {
        "trials": TRIALS, "rounds": ROUNDS,
        "recipe": {RATE: {"low": 0.001, "high": 1.0, "log": True}},
    } | changes.pop("tuning", {})  # fmt: skip
    settings = {
        "study": "tuned",
        "question": "Which row was planted?",
        "quantizers": ["float", "ste", "lsq", "dorefa"],
        "models": ["resnet8"],
        "data": {"sets": ["digits"], "validation": 300},
        "bits": ["W4A32"],
        "seeds": [0, 1, 2],
        "training": {"epochs": EPOCHS},
        "tuning": tuning,
    }
    return Study.model_validate(settings | changes)


def score(trial: Trial) -> float:
    """Best at ``BEST``; lsq fails above 0.5, and dorefa works near ``ONLY`` alone."""
    rate = trial.training.optimizer.learning_rate
    if trial.quantizer.name == "lsq" and rate > 0.5:
        return FAILED
    if trial.quantizer.name == "dorefa" and abs(math.log10(rate / ONLY)) > 0.15:
        return 0.3
    return 0.9 - 0.05 * abs(math.log10(rate / BEST))


def tuned(
    of: Study, judge: Callable[[Trial], float | None] = score, final: float = 0.01
) -> Comparison:
    """The study with as much of its searches as ``judge`` knows.

    Args:
        of: The study.
        judge: The validation accuracy of a trial of a search, ``None`` while it is not done.
        final: What a seed adds to the accuracy of a final run.
    """
    plan = Tuner(expand(of)).plan(judge)
    comparison = compared(plan, lambda cell: max(score(cell.trial), 0) + final * cell.trial.seed)
    comparison.searches = Searches(plan, lambda trial: _reading(judge(trial)))
    return comparison


def _reading(found: float | None) -> Reading:
    if found == FAILED:
        return Reading(FAILED, why="diverged")
    return Reading(found, SECONDS) if found is not None else Reading()


def write_searched(results: Path, trial: Trial) -> None:
    """The files of one trial of a search."""
    found = score(trial)
    if found == FAILED:
        folder = TrialFolder(results, trial.name)
        folder.write_trial(trial, "0" * 8)
        folder.fail(Failure("diverged", "the loss is not a number"))
        return
    folder = write_trial(results, trial, found, train_seconds=SECONDS, epochs=1)
    folder.write_rows("history.parquet", [Row(trial.last_epoch, "validation/accuracy", found)], Row)
    folder.finish()


def written(of: Study, results: Path, *, searches: int | None = None) -> Plan:
    """The plan of a study whose trials are all done, or only so many trials of its searches."""
    plan = Growth(expand(of), results).plan
    for attempt in plan.attempts[:searches]:
        write_searched(results, attempt.trial)
    plan = Growth(expand(of), results).plan
    if searches is None:
        for trial in (*plan.needed, *(cell.trial for cell in plan.cells)):
            write_trial(results, trial, max(score(trial), 0.1))
    return plan
