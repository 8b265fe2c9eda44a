"""The cost table: ratios to float, units, and what older trials did not record."""

from pathlib import Path

import pytest
from synthetic_costs import EDGE, INNER, MACHINE, WEIGHTS, costly, costs, sums
from synthetic_results import fill, make_plan

from qbench.reporting.compare import Comparison
from qbench.reporting.cost_table import cost_table
from qbench.reporting.document import Entry, Table
from qbench.reporting.numbers import NOTHING
from qbench.study.plan import Cell

PLAN = make_plan(["float", "ste", "lsq"], bits=["W1A32"])


def table(comparison: Comparison, place: int = 0) -> Table:
    found = cost_table(comparison, comparison.settings[place], "cost-1")
    assert found is not None
    return found


def cells(found: Table, row: str) -> dict[str, Entry]:
    return dict(zip([head for (head,) in found.columns], dict(found.rows)[row], strict=True))


def slow(cell: Cell) -> dict[str, object]:
    """lsq takes 1.5 times as long as float, whose seeds differ."""
    seconds = 100.0 * (1 + cell.trial.seed)
    times = {"lsq": 1.5, "ste": 1.1, "float": 1.0}[cell.label]
    return {"seconds": {"train": seconds * times, "test": 10.0}}


def test_training_time_is_relative_to_float_of_the_same_seed() -> None:
    found = table(costly(PLAN, lambda cell: 0.9, slow))
    assert cells(found, "lsq")["training time"].text == "1.50×"
    assert cells(found, "lsq")["training time"].value == pytest.approx(1.5)
    assert cells(found, "float")["training time"].text == "1.00×"


def test_times_of_other_machines_are_not_compared() -> None:
    def elsewhere(cell: Cell) -> dict[str, object]:
        if cell.label != "lsq":
            return {}
        return {"environment": {"machine": MACHINE | {"processor": "Other"}, "device": "cpu",
                                "threads": 1}}  # fmt: skip

    found = table(costly(PLAN, lambda cell: 0.9, elsewhere))
    assert cells(found, "lsq")["training time"] == Entry(NOTHING)
    assert cells(found, "lsq")["peak memory (MiB)"].text == NOTHING
    assert cells(found, "ste")["training time"].text == "1.00×"
    assert any("cannot be compared" in note for note in found.notes)


def test_size_and_bit_operations_stand_with_their_ratio_to_float() -> None:
    found = table(costly(PLAN, lambda cell: 0.9))
    own = cells(found, "lsq")
    sizes = [WEIGHTS / 8 + 4 * 3_834, 4 * (WEIGHTS + 3_834)]
    assert own["size (KiB)"].value == sizes[0]
    assert own["size (KiB)"].text == f"{sizes[0] / 1024:.1f} ({sizes[1] / sizes[0]:.1f}×)"
    bops = INNER * 32 + EDGE * 1024
    ratio = (INNER + EDGE) * 1024 / bops
    assert own["bit-operations (G)"].text == f"{bops / 1e9:.2f} ({ratio:.1f}×)"
    assert cells(found, "float")["size (KiB)"].text.endswith("(1.0×)")
    assert "40.6 M multiply-accumulates" in found.caption


def test_the_other_costs_are_means_and_counts() -> None:
    own = cells(table(costly(PLAN, lambda cell: 0.9)), "ste")
    assert own["kernels a step"].text == "900"
    assert own["peak memory (MiB)"].text == "500"
    assert own["diagnostics"].text == "8.3 %"  # 5 and 5 of 120 seconds
    assert own["added parameters"].text == "38"


def test_host_syncs_have_a_column_only_where_there_are_any() -> None:
    found = table(costly(PLAN, lambda cell: 0.9))
    assert ("host syncs a step",) not in found.columns
    assert "In no row does a training step make the host wait." in found.notes

    def waits(cell: Cell) -> dict[str, object]:
        cost = costs(cell.trial) | {"host_syncs": 2 + cell.trial.seed}
        return {"audit": sums(cell.trial) | {"cost": cost}} if cell.label == "lsq" else {}

    waiting = table(costly(PLAN, lambda cell: 0.9, waits))
    assert cells(waiting, "lsq")["host syncs a step"].text == "2 to 4"
    assert cells(waiting, "ste")["host syncs a step"].text == "0"
    assert not any("host wait" in note for note in waiting.notes)


def test_files_of_trials_that_recorded_no_costs_are_read(tmp_path: Path) -> None:
    fill(tmp_path, PLAN, lambda cell: 0.9)
    found = table(Comparison(PLAN, tmp_path))
    assert [head for (head,) in found.columns] == [
        "training time", "size (B)", "diagnostics",
    ]  # fmt: skip
    assert cells(found, "lsq")["size (B)"].text == "1000 (1.0×)"  # 250 and 750 bytes
    (missing,) = found.notes
    assert missing == (
        "Not recorded by these trials: kernels a step, peak memory, bit-operations, "
        "added parameters."
    )


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"device": "cpu"}, False),  # of older trials: the worker's, not the trial's
        ({"device": "cpu", "peak_memory_is_own": False}, False),
        ({"device": "cpu", "peak_memory_is_own": True}, True),
        ({"device": "A GPU"}, True),  # whose peak always started anew
    ],
)
def test_a_peak_that_earlier_trials_may_have_reached_is_not_shown(
    facts: dict[str, object], shown: bool
) -> None:
    environment = {"machine": MACHINE, "threads": 1, "peak_memory_bytes": 2**29} | facts
    found = table(costly(PLAN, lambda cell: 0.9, lambda cell: {"environment": environment}))
    assert (("peak memory (MiB)",) in found.columns) == shown


def test_older_and_newer_trials_stand_side_by_side() -> None:
    def older(cell: Cell) -> dict[str, object]:
        return {"audit": sums(cell.trial)} if cell.label == "ste" else {}

    found = table(costly(PLAN, lambda cell: 0.9, older))
    assert cells(found, "ste")["kernels a step"] == Entry(NOTHING)
    assert cells(found, "lsq")["kernels a step"].text == "900"


@pytest.mark.parametrize("wrong", [None, "many", True, float("nan"), [1], {"a": 1}])
def test_a_cost_that_is_no_number_is_not_taken_for_one(wrong: object) -> None:
    def damaged(cell: Cell) -> dict[str, object]:
        return {"audit": sums(cell.trial) | {"cost": costs(cell.trial) | {"kernels": wrong}}}

    found = table(costly(PLAN, lambda cell: 0.9, damaged))
    assert ("kernels a step",) not in found.columns
    assert ("bit-operations (G)",) in found.columns


def test_a_network_with_layers_that_are_not_counted_says_so() -> None:
    def partly(cell: Cell) -> dict[str, object]:
        cost = costs(cell.trial) | {"uncounted_layers": 12}
        return {"audit": sums(cell.trial) | {"cost": cost}}

    found = table(costly(PLAN, lambda cell: 0.9, partly))
    assert any(note.startswith("12 layers") and "too few" in note for note in found.notes)


def test_without_a_float_network_nothing_is_relative_to_it() -> None:
    plan = make_plan(["ste"], bits=["W1A32"])
    found = table(costly(plan, lambda cell: 0.9))
    assert ("training time",) not in found.columns
    assert "×" not in cells(found, "ste")["size (KiB)"].text


def test_nothing_done_is_no_table() -> None:
    comparison = costly(PLAN, lambda cell: -1.0)
    assert cost_table(comparison, comparison.settings[0], "cost-1") is None
