"""A store that is away for a while: the study goes on, and tracking catches up."""

import logging
import os
import shutil
import subprocess
import sys

import pytest
from trial_files import finish, logged_points, make_plan, make_trial, write_epochs

from qbench.errors import UsageError
from qbench.tracking import background
from qbench.tracking.background import BackgroundTracker

pytestmark = pytest.mark.fault


@pytest.fixture
def away(results):
    """Takes the store away, and gives it back."""
    store, hidden = results / "mlflow.db", results / "hidden"

    def move(*, back):
        if back:
            store.rmdir()
            hidden.rename(store)
        else:
            store.rename(hidden)
            store.mkdir()  # where a file should be

    return move


def start(results, *trials, wait=True):
    tracker = BackgroundTracker(make_plan(*trials))
    study_file = results.parent / "tiny.yaml"
    study_file.write_text("study: tiny\n")
    try:
        return tracker, tracker.open(results, study_file, {}, wait=wait)
    except UsageError:
        assert tracker.close(None, {}) == ()
        raise


def test_a_store_that_comes_back_gets_all_once(results, view, away, monkeypatch, caplog):
    earlier, running, later = (make_trial(seed=seed) for seed in range(3))
    finish(results, earlier)
    away(back=False)
    with caplog.at_level(logging.WARNING):
        tracker, browse = start(results, earlier, running, later)
    assert browse == ""
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "meanwhile the study goes on" in warning
    tracker.started(running.name)
    write_epochs(results, running, 2)
    monkeypatch.setattr(background, "AWAY_SECONDS", 0.0)
    tracker.started(later.name)  # tries, in vain
    tracker._thread.submit(int).result()
    away(back=True)
    tracker._away_until = 0.0
    tracker.ended(later.name, "missing")
    tracker._thread.submit(int).result()
    assert {run.info.status for run in view.runs()} >= {"FINISHED", "RUNNING"}
    finish(results, running, 4)
    tracker.ended(running.name, "done")
    finish(results, later)
    tracker.ended(later.name, "done")
    assert tracker.close(None, {"trials/done": 3}) == ()
    assert [run.info.status for run in view.runs()] == ["FINISHED"] * 3
    assert sorted(view.count(run) for run in view.runs()) == sorted(
        [logged_points(4), logged_points(5), logged_points(5)]
    )


def test_a_store_that_stays_away_is_told_and_filled_by_the_next_run(results, view, away):
    trial, missing = make_trial(), make_trial(seed=1)
    away(back=False)
    tracker, _ = start(results, trial, missing)
    tracker.started(trial.name)
    finish(results, trial)
    tracker.ended(trial.name, "done")
    assert tracker.close(None, {}) == (trial.name, "study")
    away(back=True)
    for _ in range(2):
        tracker, browse = start(results, trial, missing, wait=False)
        assert browse
        assert tracker.close(None, {}) == ()
    assert view.count(view.run()) == logged_points(5)


def test_a_store_that_is_away_at_first_is_refused(results, away):
    away(back=False)
    with pytest.raises(UsageError, match="cannot be used"):
        start(results, make_trial(), wait=False)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small file system"
)
def test_a_store_without_room_is_filled_once_there_is_some(results, view, tmp_path, caplog):
    """The store on a disk of its own, which is full but for a page."""
    from mlflow import MlflowClient

    disk = tmp_path / "disk"
    disk.mkdir()
    size = (results / "mlflow.db").stat().st_size + 2**20
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk])
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copy(results / "mlflow.db", disk / "mlflow.db")
        uri = f"sqlite:///{disk / 'mlflow.db'}"
        trials = [make_trial(seed=seed) for seed in range(3)]
        plan = make_plan(*trials)
        settings = plan.study.model_copy(
            update={"tracking": plan.study.tracking.model_copy(update={"uri": uri})}
        )
        plan = type(plan)(study=settings, cells=plan.cells)
        study_file = tmp_path / "tiny.yaml"
        study_file.write_text("study: tiny\n")
        tracker = BackgroundTracker(plan)
        tracker.open(results, study_file, {})
        free = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 4096))
        with caplog.at_level(logging.WARNING):
            for trial in trials:
                tracker.started(trial.name)
                finish(results, trial, 50)
                tracker.ended(trial.name, "done")
            lacking = tracker.close(None, {"trials/done": 3})
        assert {trial.name for trial in trials} <= set(lacking)
        told = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
        assert len(told) == 1
        assert "database or disk is full" in told[0]
        (disk / "ballast").unlink()
        tracker = BackgroundTracker(plan)
        tracker.open(results, study_file, {})
        assert tracker.close(None, {"trials/done": 3}) == ()
        client = MlflowClient(tracking_uri=uri)
        identity = client.get_experiment_by_name("tiny").experiment_id
        runs = client.search_runs([identity], "tags.kind = 'trial'")
        assert [run.info.status for run in runs] == ["FINISHED"] * 3
        for run in runs:
            points = sum(len(client.get_metric_history(run.info.run_id, key))
                         for key in run.data.metrics)  # fmt: skip
            assert points == logged_points(50)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
