"""Comparisons in memory whose trials recorded costs, as a ResNet-20 on 32x32 images has them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from qbench.reporting import compare
from qbench.reporting.collect import ACCURACY, TrialResult
from qbench.reporting.compare import Comparison
from qbench.study.plan import Cell, Plan
from qbench.study.trial import Trial

INNER, EDGE = 40_108_032, 443_008  # multiply-accumulates of quantized and of float layers
WEIGHTS, FLOATS = 267_264, 3_834
FLOAT_KERNELS = 370
MACHINE = {"processor": "Test CPU", "cores": 2, "system": "Linux 6"}

Changes = Callable[[Cell], dict[str, Any]]


def costs(trial: Trial, kernels: int = 900, added: int = 38) -> dict[str, int]:
    """The group ``cost`` of a trial."""
    weight, activation = trial.bits.weight, trial.bits.activation
    return {
        "macs": INNER + EDGE,
        "bops": INNER * weight * activation + EDGE * 1024,
        "parameters": WEIGHTS + 2_458,
        "ideal_bytes": WEIGHTS * weight // 8 + 4 * FLOATS,
        "uncounted_layers": 0,
        "kernels": kernels if min(weight, activation) < 32 else FLOAT_KERNELS,
        "host_syncs": 0,
        "quantizer_parameters": added if min(weight, activation) < 32 else 0,
        "training_state_bytes": 8 * WEIGHTS + 4 * FLOATS + 4 * added,
    }


def sums(trial: Trial) -> dict[str, int]:
    """The sums that every ``audit.json`` has."""
    coded = trial.bits.weight < 32
    return {
        "coded_bytes": WEIGHTS * trial.bits.weight // 8 if coded else 0,
        "float_bytes": 4 * (FLOATS + (0 if coded else WEIGHTS)),
    }


def costly(
    plan: Plan, accuracy: Callable[[Cell], float], changes: Changes = lambda cell: {}
) -> Comparison:
    """The comparison of a plan whose trials are all done.

    Args:
        plan: The study.
        accuracy: A share of test images; below 0 the trial was not run.
        changes: Other fields of the trial's result, such as ``audit``.
    """
    by_name = {trial.name: Cell(trial, "float") for trial in plan.needed}
    by_name |= {cell.trial.name: cell for cell in plan.cells}

    def result(trial: Trial) -> TrialResult:
        cell = by_name[trial.name]
        if accuracy(cell) < 0:
            return TrialResult(trial, "missing", "not run")
        whole: dict[str, Any] = {
            "final": {ACCURACY: (20, accuracy(cell))},
            "audit": sums(trial) | {"cost": costs(trial)},
            "seconds": {"train": 100.0, "diagnose": 5.0, "diagnose/flip_sets": 5.0, "test": 10.0},
            "environment": {"machine": MACHINE, "device": "cpu", "threads": 1,
                            "peak_memory_bytes": 500 * 2**20, "peak_memory_is_own": True},
        }  # fmt: skip
        return TrialResult(trial, "done", **(whole | changes(cell)))

    def collected(trials: Iterable[Trial], results: Path) -> dict[str, TrialResult]:
        del results
        return {trial.name: result(trial) for trial in trials}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "collect", collected)
        return Comparison(plan, Path("nowhere"))
