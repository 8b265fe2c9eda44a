"""When a report is made again, and when it is left as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import fill, make_plan, write_trial

from qbench.reporting import report as report_module
from qbench.reporting import stamp
from qbench.reporting.figures import COMPARING
from qbench.reporting.report import Report, write_report
from qbench.study.plan import Plan

NUMBERS = ("csv",)
"""Without figures, which take seconds."""


@pytest.fixture
def made(tmp_path: Path) -> tuple[Plan, Path, Report]:
    plan = make_plan(seeds=(0,))
    fill(tmp_path / "results", plan, lambda cell: 0.9)
    return plan, tmp_path, write(plan, tmp_path)


def write(plan: Plan, folder: Path, formats: tuple[str, ...] = NUMBERS) -> Report:
    return write_report(plan, folder / "results", folder / "report", formats, {})


def was_made_again(plan: Plan, folder: Path) -> bool:
    """A report that is left as it is keeps a planted time."""
    page = folder / "report" / "results.csv"
    if page.is_file():
        os.utime(page, (1, 1))
    write(plan, folder)
    return page.stat().st_mtime != 1


def test_nothing_new_leaves_the_report_and_gives_the_same_answer(
    made: tuple[Plan, Path, Report],
) -> None:
    plan, folder, first = made
    assert not was_made_again(plan, folder)
    again = write(plan, folder)
    assert (again.headline, again.table_text) == (first.headline, first.table_text)
    assert [path.name for path in again.files] == [path.name for path in first.files]


def rewrite_a_trial(plan: Plan, folder: Path) -> None:
    write_trial(folder / "results", plan.cells[1].trial, 0.8)


def lose_a_trial(plan: Plan, folder: Path) -> None:
    (folder / "results" / plan.cells[1].trial.name / "done").unlink()


def lose_a_file_of_the_report(plan: Plan, folder: Path) -> None:
    (folder / "report" / "results.csv").unlink()


def cut_a_file_of_the_report(plan: Plan, folder: Path) -> None:
    (folder / "report" / "summary.csv").write_text("")


def damage_the_stamp(plan: Plan, folder: Path) -> None:
    (folder / "results" / ".synthetic.report.json").write_text('{"of": 1')


@pytest.mark.parametrize(
    "change",
    [rewrite_a_trial, lose_a_trial, lose_a_file_of_the_report, cut_a_file_of_the_report,
     damage_the_stamp],
)  # fmt: skip
def test_what_changed_is_reported_again(
    made: tuple[Plan, Path, Report], change: Callable[[Plan, Path], None]
) -> None:
    plan, folder, _ = made
    change(plan, folder)
    assert was_made_again(plan, folder)


def test_another_question_or_library_is_another_report(
    made: tuple[Plan, Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder, _ = made
    other = plan.study.model_copy(update={"question": "Another one?"})
    assert was_made_again(Plan(other, plan.cells), folder)
    monkeypatch.setattr(stamp, "version", lambda name: "0")
    assert was_made_again(plan, folder)


def test_a_store_that_cannot_be_written_forgets(
    made: tuple[Plan, Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder, _ = made

    def refuse(path: Path, data: bytes) -> None:
        raise OSError("read-only")

    (folder / "results" / ".synthetic.report.json").unlink()
    monkeypatch.setattr(stamp, "write_atomic", refuse)
    assert was_made_again(plan, folder)
    assert was_made_again(plan, folder)


def test_figures_of_an_earlier_report_are_deleted(
    made: tuple[Plan, Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "CHAPTERS", (COMPARING[:1], (), (), (), ()))  # one is enough
    plan, folder, _ = made
    report = folder / "report"
    first = write(plan, folder, ("markdown",))
    (report / "figures" / "notes.txt").write_text("a reader's own")
    write(plan, folder)
    # One format says nothing of the files of others.
    assert not [path for path in first.files if not path.is_file()]
    other = make_plan(seeds=(0,), models=("resnet20",))
    fill(folder / "results", other, lambda cell: 0.9)
    write(other, folder, ("markdown",))
    left = {path.name for path in (report / "figures").iterdir()}
    assert "notes.txt" in left
    assert any("resnet20" in name for name in left)
    assert not any("resnet8" in name for name in left)
