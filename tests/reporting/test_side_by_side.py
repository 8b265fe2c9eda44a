"""Two studies beside each other: shared cells, the same trials, and settings that differ."""

from pathlib import Path

from synthetic_results import fill, make_plan, make_trial

from qbench.reporting.side_by_side import write_side_by_side
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Training

EVERY = ("markdown", "csv")


def longer(plan: Plan) -> Plan:
    """The same grid trained for 40 epochs, but the float row as it was."""
    cells = [
        cell
        if cell.is_float
        else Cell(
            make_trial(cell.label, "W4A32", cell.trial.seed, training=Training(epochs=40)),
            cell.label,
        )
        for cell in plan.cells
    ]
    return Plan(make_plan(training={"epochs": 40}).study, tuple(cells))


def planted(cell: Cell) -> float:
    gain = 0.03 if cell.trial.training.epochs == 40 else 0.0
    return 0.6 + gain + 0.01 * cell.trial.seed


def test_the_difference_is_paired_and_the_same_trials_are_named(tmp_path: Path) -> None:
    first = make_plan()
    second = longer(first)
    fill(tmp_path, first, planted)
    fill(tmp_path, second, planted)
    found = write_side_by_side((first, second), tmp_path, tmp_path / "report", EVERY)
    text = (tmp_path / "report" / "report.md").read_text()
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "61.00 ± 1.00 (3)" in lines["ste"]
    assert "64.00 ± 1.00 (3)" in lines["ste"]
    assert "**+3.00 \\[3.00, 3.00]**" in lines["ste"]
    assert "the same trials" in lines["float"]
    assert "training.epochs: 20 in synthetic (1), 40 in synthetic (2)" in text
    assert "share 3 cells; in 2 the interval" in found.headline
    assert "1 are the same trials" in found.headline
    assert {path.name for path in found.files} == {"report.md", "results.csv"}


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    first, second = make_plan(("ste",)), make_plan(("lsq",), bits=("W2A2",))
    fill(tmp_path, first, planted)
    fill(tmp_path, second, planted)
    found = write_side_by_side((first, second), tmp_path, tmp_path / "report", EVERY)
    assert "share no row and setting" in found.headline
    assert "61.00 ± 1.00 (3)" in (tmp_path / "report" / "report.md").read_text()
