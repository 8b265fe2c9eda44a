import math
from pathlib import Path

import pytest
from trial_files import (
    BEGUN,
    NAMES,
    fail,
    finish,
    logged_points,
    make_plan,
    make_trial,
    write_epochs,
)

from qbench.store import Row
from qbench.tracking.tracker import Tracker


def test_study_has_a_parent_run_and_a_child_run_a_trial(results, open_tracker, view):
    trials = [make_trial(seed=seed) for seed in (0, 1)]
    tracker = open_tracker(*trials)
    for trial in trials:
        tracker.started(trial)
        finish(results, trial)
        tracker.ended(trial)
    report = results / "report"
    report.mkdir()
    (report / "report.md").write_text("# tiny\n")
    tracker.close(report, {"trials_done": 2, "best": "lsq", "all": True}, "lsq_2 is best.")

    (parent,) = view.runs("study")
    children = view.runs()
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"trials_done": 2.0}
    assert view.files(parent) == {"tiny.yaml", "plan.json", "report"}
    assert {run.info.run_name for run in children} == {
        "lsq · resnet8 · W4A32 · seed 0",
        "lsq · resnet8 · W4A32 · seed 1",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in children} == {"FINISHED"}
    assert tracker.pending == ()
    note = view.client.get_experiment_by_name("tiny").tags["mlflow.note.content"]
    assert "Which quantizer loses least?" in note
    assert r"**lsq\_2 is best.**" in note
    assert str(report) in note
    assert r"**lsq\_2 is best.**" in parent.data.tags["mlflow.note.content"]
    assert f"{parent.info.run_id}/artifacts/report/report.md" in note


def test_the_study_file_is_kept_without_its_password(results, open_tracker, view):
    text = "study: tiny\ntracking: {{uri: 'postgresql://u:{}@h/db'}}  # ours\n"
    study_file = results.parent / "secret.yaml"
    study_file.write_text(text.format("hunter2"))
    Tracker.open(make_plan(make_trial()), None, results, study_file, {}).close(None, {})
    (parent,) = view.runs("study")
    kept = view.client.download_artifacts(parent.info.run_id, "secret.yaml", str(results))
    assert Path(kept).read_text() == text.format("***")


def test_run_of_a_done_trial_holds_what_its_files_hold(results, open_tracker, view):
    trial = make_trial()
    folder = finish(results, trial, 5)
    open_tracker(trial).sync_all([trial])

    run = view.run()
    tags = run.data.tags
    assert tags["qbench.trial"] == trial.name
    place = ("row", "quantizer", "model", "data", "bits", "seed", "state", "kind")
    told = ("lsq", "lsq", "resnet8", "digits", "W4A32", "0", "done", "trial")
    assert tuple(tags[key] for key in place) == told
    assert tags["qbench.code"] == "c0de0001"
    assert tags["mlflow.source.git.commit"] == "0123456789ab"
    assert run.info.start_time == round((BEGUN - 0.8) * 1000)  # epoch 0 trains for 0.8 s
    assert run.info.end_time == round((BEGUN + 5.4) * 1000)
    assert [step for step, _ in view.points(run, "train/loss")] == [1, 2, 3, 4, 5]
    assert "test/accuracy" not in run.data.metrics
    history = {(row["epoch"], row["name"]): row["value"] for row in _rows(folder)}
    accuracy = history[5, "test/accuracy"]
    assert run.data.metrics["final/test/accuracy"] == pytest.approx(accuracy, rel=1e-5)  # 6 digits
    assert f"**{accuracy:.2%}**" in tags["mlflow.note.content"]
    assert run.data.metrics["cost/train_seconds"] == pytest.approx(6 * 0.8)  # epochs 0 to 5
    assert view.files(run) == {
        "trial.json",
        "history.parquet",
        "layers.parquet",
        "audit.json",
        "environment.json",
    }
    inputs = {
        (entry.dataset.name, entry.dataset.digest, entry.tags[0].value)
        for entry in run.inputs.dataset_inputs
    }
    assert inputs == {
        ("digits", "3fa9c1d20b7e-train", "train"),
        ("digits", "3fa9c1d20b7e-test", "test"),
    }


def _rows(folder):
    return folder.read_table("history.parquet").to_pylist()


def test_second_tracker_doubles_nothing(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial, 5)
    for _ in range(2):
        tracker = open_tracker(trial)
        tracker.started(trial)
        tracker.sync(trial)
        tracker.sync(trial)
        tracker.ended(trial)
        tracker.sync_all([trial])
        tracker.close(None, {"trials_done": 1})
    assert view.count(view.run()) == logged_points(5)
    (parent,) = view.runs("study")
    assert view.points(parent, "trials_done") == [(0, 1.0)]


@pytest.mark.fault
def test_points_are_logged_once_although_the_driver_was_killed(results, open_tracker, view):
    trial = make_trial()
    first = open_tracker(trial)
    first.started(trial)
    write_epochs(results, trial, 3)
    first.sync(trial)
    run = view.run()
    assert run.info.status == "RUNNING"
    assert [step for step, _ in view.points(run, "train/loss")] == [1, 2, 3]
    # killed between the metrics and the note of how far they go
    view.client.set_tag(run.info.run_id, "qbench.epoch", "1")

    second = open_tracker(trial)
    second.started(trial)
    finish(results, trial, 6)
    second.ended(trial)
    assert view.run().info.run_id == run.info.run_id
    assert view.count(view.run()) == logged_points(6)
    assert [step for step, _ in view.points(run, "train/loss")] == [1, 2, 3, 4, 5, 6]


def test_rows_that_come_late_to_the_last_epoch_are_logged(results, open_tracker, view):
    trial = make_trial()
    tracker = open_tracker(trial)
    tracker.started(trial)
    write_epochs(results, trial, 3, change=lambda rows: rows[:-1])
    tracker.sync(trial)
    finish(results, trial, 3)
    tracker.ended(trial)
    assert view.count(view.run()) == logged_points(3)


def test_trial_that_is_trained_anew_gets_a_new_run(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial, 5)
    open_tracker(trial).sync_all([trial])
    old = view.run().info.run_id

    tracker = open_tracker(trial)
    tracker.started(trial)
    finish(results, trial, 4, begun=BEGUN + 1000)
    tracker.ended(trial)
    run = view.run()
    assert run.info.run_id != old
    assert view.count(run) == logged_points(4)


def test_failed_trial_says_why_and_a_retry_takes_it_back(results, open_tracker, view):
    trial = make_trial()
    tracker = open_tracker(trial)
    tracker.started(trial)
    folder = fail(results, trial)
    tracker.ended(trial)
    run = view.run()
    assert run.info.status == "FAILED"
    assert run.data.tags["state"] == "failed"
    assert run.data.tags["failure"] == "diverged: the loss is nan in epoch 2"
    assert view.files(run) == {"failed.json"}
    tracker.close(None, {})
    assert view.runs("study")[0].info.status == "FAILED"

    tracker = open_tracker(trial)
    folder.clear()
    tracker.started(trial)
    run = view.run()
    assert run.info.status == "RUNNING"
    assert "failure" not in run.data.tags
    finish(results, trial)
    tracker.ended(trial)
    run = view.run()
    assert run.info.status == "FINISHED"
    assert "diverged" not in run.data.tags["mlflow.note.content"]


def test_interrupted_trial_is_killed_and_continued_in_the_same_run(results, open_tracker, view):
    trial = make_trial()
    tracker = open_tracker(trial)
    tracker.started(trial)
    write_epochs(results, trial, 2)
    tracker.ended(trial)
    tracker.close(None, {}, interrupted=True)
    killed = view.run()
    assert killed.info.status == "KILLED"
    assert view.runs("study")[0].info.status == "KILLED"
    assert not [key for key in killed.data.metrics if key.startswith("final/")]

    tracker = open_tracker(trial)
    tracker.started(trial)
    finish(results, trial, 5)
    tracker.ended(trial)
    assert view.run().info.run_id == killed.info.run_id
    assert view.count(view.run()) == logged_points(5)


@pytest.mark.fault
def test_run_of_a_driver_that_died_does_not_stay_running(results, open_tracker, view):
    trial = make_trial()
    tracker = open_tracker(trial)
    write_epochs(results, trial, 2)
    tracker.started(trial)
    assert view.run().info.status == "RUNNING"
    open_tracker(trial).sync_all([trial])
    assert view.run().info.status == "KILLED"


def test_nan_and_infinity_are_logged(results, open_tracker, view):
    trial = make_trial()
    strange = [Row(1, "odd/nan", math.nan), Row(1, "odd/inf", math.inf)]
    finish(results, trial, 2, change=lambda rows: [*strange, *rows])
    for _ in range(2):
        tracker = open_tracker(trial)
        tracker.started(trial)
        tracker.ended(trial)
    run = view.run()
    ((_, nan),) = view.points(run, "odd/nan")
    ((_, infinite),) = view.points(run, "odd/inf")
    assert math.isnan(nan)
    assert infinite > 1e308  # MLflow stores the largest number


def test_names_that_mlflow_refuses_are_made_safe(results, open_tracker, view):
    trial = make_trial(options={"slope": [1, 2]})
    odd = [Row(1, "error[conv1]", 1.0), Row(1, "/a//b/../c", 2.0)]
    finish(results, trial, 2, change=lambda rows: [*odd, *rows])
    tracker = open_tracker(trial)
    tracker.sync_all([trial])
    assert tracker.pending == ()
    metrics = view.run().data.metrics
    assert metrics["error_conv1_"] == 1.0
    assert metrics["a/c"] == 2.0
    assert view.run().data.params["quantizer.slope"] == "[1, 2]"


def test_a_run_has_thirty_keys_at_most(results, open_tracker, view):
    trial = make_trial()
    many = [Row(1, f"diagnostic/{number}", 1.0) for number in range(40)]
    finish(results, trial, 2, change=lambda rows: [*rows, *many])
    open_tracker(trial).sync_all([trial])
    run = view.run()
    assert len(run.data.metrics) <= 30
    assert {*NAMES, "final/test/accuracy", "cost/total_seconds"} <= run.data.metrics.keys()
    shown = sum(key.startswith("diagnostic/") for key in run.data.metrics)
    assert f"diagnostic {40 - shown}" in run.data.tags["mlflow.note.content"]


def test_a_trial_says_itself_what_it_was_trained_on(results, open_tracker, view) -> None:
    """As in a store made anew by ``qbench.track``, which prepares no images."""
    trial = make_trial()
    folder = finish(results, trial)
    data = {"name": "digits", "digest": "77" * 16, "source": "elsewhere"}
    folder.write_json("environment.json", {"data": data})
    folder.finish()
    for _ in range(2):
        open_tracker(trial).sync_all([trial])
        inputs = view.run().inputs.dataset_inputs
        digests = sorted(one.dataset.digest for one in inputs)
        assert digests == ["77" * 6 + "-test", "77" * 6 + "-train"]
