"""Every trial comes back in a state with a reason, whatever its files hold."""

import json
from pathlib import Path

import pytest
from synthetic_results import make_trial, write_trial

from qbench.reporting.collect import read_trial
from qbench.reporting.traces import Traces
from qbench.store import Failure, Row, TrialFolder
from qbench.study.trial import Trial

TRIAL = make_trial("ste", "W4A32", 0)


def test_a_finished_trial_is_read(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, 0.9, gap=0.02, layers={"b": 0.1, "a": 0.3}, train_seconds=7.0)
    found = read_trial(TRIAL, tmp_path)
    assert found.state == "done"
    assert found.final["test/accuracy"] == (20, 0.9)
    assert found.final["test/gap"] == (20, 0.02)
    # In the network's order, not the alphabet's.
    gap = Traces(tmp_path).layers([found], "discretization/train_deploy_gap")
    rows = list(zip(gap["epoch"], gap["layer"], gap["value"], strict=True))
    assert rows == [(0, "b", 0.9), (0, "a", 0.9), (20, "b", 0.1), (20, "a", 0.3)]
    assert found.final["discretization/train_deploy_gap"] == (20, pytest.approx(0.2))
    assert found.seconds["train"] == pytest.approx(7.0)
    assert len(found.curves["validation/accuracy"]) == 20  # epochs of a synthetic trial


def test_a_trial_that_was_not_run_is_missing(tmp_path: Path) -> None:
    assert read_trial(TRIAL, tmp_path).state == "missing"


def test_a_trial_that_was_cut_off_is_unfinished(tmp_path: Path) -> None:
    TrialFolder(tmp_path, TRIAL.name).write_trial(TRIAL, "code")
    assert read_trial(TRIAL, tmp_path).state == "unfinished"


def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    TrialFolder(tmp_path, TRIAL.name).fail(Failure("diverged", "the loss is nan"))
    found = read_trial(TRIAL, tmp_path)
    assert (found.state, found.short_reason) == ("failed", "failed: diverged")
    assert found.message == "the loss is nan"


def test_a_network_of_more_bits_than_it_claims_is_refused(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, 0.9, refusal="the weight of layer 'a' takes 5 different values")
    found = read_trial(TRIAL, tmp_path)
    assert (found.state, found.short_reason) == ("refused", "refused: not of its bits")
    assert "takes 5 different values" in found.message
    assert not found.final  # none of its numbers reaches a table


@pytest.mark.fault
@pytest.mark.parametrize(
    "file", ["history.parquet", "layers.parquet", "seconds.parquet", "environment.json", "done"]
)
def test_other_bytes_of_the_same_size_are_noticed(tmp_path: Path, file: str) -> None:
    folder = write_trial(tmp_path, TRIAL, 0.9)
    path = folder.path / file
    path.write_bytes(b"x" * path.stat().st_size)
    found = read_trial(TRIAL, tmp_path)
    assert found.state == "damaged"
    assert file in found.message


@pytest.mark.fault
def test_a_truncated_file_is_damaged_and_named(tmp_path: Path) -> None:
    folder = write_trial(tmp_path, TRIAL, 0.9)
    (folder.path / "history.parquet").write_bytes(b"PAR1")
    found = read_trial(TRIAL, tmp_path)
    assert (found.state, "history.parquet" in found.message) == ("damaged", True)


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1PAR1"])
def test_a_corrupt_history_that_was_recorded_as_such(tmp_path: Path, content: bytes) -> None:
    folder = write_trial(tmp_path, TRIAL, 0.9)
    folder.write("history.parquet", content)
    folder.finish()
    assert read_trial(TRIAL, tmp_path).state == "damaged"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no test/accuracy"),
        ([Row(1, "train/loss", 0.5)], "no test/accuracy"),
        ([Row(1, "test/accuracy", float("nan"))], "test/accuracy is nan"),
    ],
)
def test_a_history_without_the_result(tmp_path: Path, rows: list[Row], words: str) -> None:
    folder = write_trial(tmp_path, TRIAL, 0.9)
    folder.write_rows("history.parquet", rows, Row)
    folder.finish()
    found = read_trial(TRIAL, tmp_path)
    assert (found.state, words in found.message) == ("damaged", True)


@pytest.mark.fault
@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"reason": "error"})])
def test_an_unreadable_failure_is_damaged(tmp_path: Path, text: str) -> None:
    folder = TrialFolder(tmp_path, TRIAL.name)
    folder.write("failed.json", text.encode())
    assert read_trial(TRIAL, tmp_path).state == "damaged"


def test_a_file_in_place_of_a_folder_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / TRIAL.name).write_text("")
    assert read_trial(TRIAL, tmp_path).state == "missing"


def test_the_trial_is_kept_as_planned(tmp_path: Path) -> None:
    found = read_trial(TRIAL, tmp_path)
    assert isinstance(found.trial, Trial)
    assert found.trial is TRIAL
