"""A whole report: its files, that it can be made again to the byte, and bad input."""

from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import fill, make_plan, make_trial

from qbench.errors import UsageError
from qbench.reporting.markdown import escape_markdown
from qbench.reporting.report import Report, write_report
from qbench.study.plan import Cell, Excluded, Plan
from qbench.study.schema import Training

HOSTILE = "a|_%$&<x>\\{}"
EVERY = ("markdown", "html", "latex", "csv", "parquet")


def accuracy(cell: Cell) -> float:
    return {"float": 0.95, "ste": 0.90, "lsq": 0.92}.get(cell.label, 0.5) + 0.001 * cell.trial.seed


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    results = tmp_path_factory.mktemp("results")
    changed = make_trial("lsq", "W4A32", 9, HOSTILE, training=Training(epochs=30))
    plan = make_plan(models=(HOSTILE,), extra=[Cell(changed, "lsq, long training")])
    plan = Plan(plan.study, plan.cells, (Excluded("weight_bits == 1", "lsq has no 1 bit", 4),))
    fill(results, plan, accuracy, layers={"conv1": 0.1, "conv2": 0.2})
    return plan, results


@pytest.fixture(scope="module")
def report(study: tuple[Plan, Path], tmp_path_factory: pytest.TempPathFactory) -> Report:
    plan, results = study
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    return write_report(plan, results, folder, EVERY, {"Study file": "studies/x.yaml"})


def test_every_file_is_named_and_there(report: Report) -> None:
    names = {str(path.relative_to(report.folder)) for path in report.files}
    assert {"report.md", "report.html", "tables.tex", "results.csv", "summary.parquet"} <= names
    assert all(path.is_file() and path.stat().st_size for path in report.files)
    written = {path for path in report.folder.rglob("*") if path.is_file()}
    assert written == set(report.files)
    figures = [name for name in names if name.endswith(".png")]
    # accuracy, differences, curves, Pareto, cost, latent error, and the gap over epochs
    assert len(figures) == 7
    assert {name.replace(".png", ".pdf") for name in figures} <= names


def test_every_figure_is_linked(report: Report) -> None:
    text = (report.folder / "report.md").read_text()
    for path in report.files:
        if path.suffix == ".png":
            assert f"]({path.relative_to(report.folder).as_posix()})" in text


def test_the_markdown_says_what_a_reader_must_know(report: Report) -> None:
    text = (report.folder / "report.md").read_text()
    for words in (
        "stand for; 10.0 % of a network's numbers stay float",  # 100 of 1000, 750 of 1000 bytes
        "which are 75.0 % of its bytes",
        "Which row was planted?",
        escape_markdown(report.headline),
        "Trials: 10 done",
        "| lsq, long training |   **30** |",
        "Excluded, 4 trials where weight_bits == 1: lsq has no 1 bit",
        "first, last, shortcut",
        "Commit: 0123456789ab",
        "Test CPU, 2 cores",
        "Study file: studies/x.yaml",
    ):
        assert words in text


def test_the_terminal_table_shows_rows_and_columns(report: Report) -> None:
    assert "92.10 ± 0.10 (3) *" in report.table_text  # lsq
    assert HOSTILE in report.table_text


def test_the_long_data_holds_every_trial(report: Report) -> None:
    frame = pd.read_csv(report.folder / "results.csv")
    values = frame[frame["name"] == "test/accuracy"]
    assert len(values) == 3 * 3 + 1  # rows and seeds; and the changed row
    assert set(frame["state"]) == {"done"}
    summary = pd.read_csv(report.folder / "summary.csv")
    lsq = summary[summary["label"] == "lsq"].iloc[0]
    assert lsq["accuracy_percent_mean"] == pytest.approx(92.1)
    assert lsq["below_float_points_mean"] == pytest.approx(3.0)
    assert lsq["marked_best"]


def test_the_same_results_give_the_same_bytes(
    study: tuple[Plan, Path], report: Report, tmp_path: Path
) -> None:
    plan, results = study
    again = write_report(plan, results, tmp_path, EVERY, {"Study file": "studies/x.yaml"})
    for first, second in zip(report.files, again.files, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes(), first.name


def test_a_study_without_any_result_is_reported(tmp_path: Path) -> None:
    found = write_report(make_plan(), tmp_path / "none", tmp_path / "report", EVERY, {})
    text = (tmp_path / "report" / "report.md").read_text()
    assert "9 not run" in text
    assert "ste: 3 not run" in text
    assert found.headline in text
    assert len(pd.read_csv(tmp_path / "report" / "results.csv")) == 9


def test_one_format_writes_no_other(study: tuple[Plan, Path], tmp_path: Path) -> None:
    found = write_report(*study, tmp_path, ("csv",), {})
    assert [path.name for path in found.files] == ["results.csv", "summary.csv"]


def test_a_folder_that_cannot_be_written_is_a_sentence(
    study: tuple[Plan, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="report cannot be written"):
        write_report(*study, tmp_path / "file" / "report", ("csv",), {})
