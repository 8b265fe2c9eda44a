import json
import logging
import shutil

import pytest
from trial_files import finish, logged_points, make_plan, make_trial, write_epochs

from qbench.errors import UsageError
from qbench.study.plan import Cell
from qbench.study.trial import TrialData
from qbench.tracking import tracker as tracker_module


def test_metrics_go_in_batches(results, open_tracker, monkeypatch):
    trial = make_trial()
    finish(results, trial, 300)  # 300 epochs of 9 values and 11 single ones are 3 batches of 1000
    tracker = open_tracker(trial)
    batches = []
    client = tracker._store.client
    log_batch = client.log_batch
    monkeypatch.setattr(
        client,
        "log_batch",
        lambda run_id, metrics=(), **more: (
            batches.append(len(metrics)),
            log_batch(run_id, metrics=metrics, **more),
        ),
    )
    tracker.sync_all([trial])
    assert [size for size in batches if size] == [1000, 1000, 711]
    batches.clear()
    tracker.sync_all([trial])
    assert batches == []


def test_sync_of_unchanged_files_logs_nothing(results, open_tracker, monkeypatch):
    trial = make_trial()
    write_epochs(results, trial, 3)
    tracker = open_tracker(trial)
    tracker.started(trial)

    def refuse(*_, **__):
        raise AssertionError("logged again")

    monkeypatch.setattr(tracker._store.client, "log_batch", refuse)
    tracker.sync(trial)
    assert tracker.pending == ()


@pytest.mark.fault
def test_study_goes_on_when_the_store_fails_and_catches_up(
    results, open_tracker, view, monkeypatch, caplog
):
    trials = [make_trial(seed=seed) for seed in range(3)]
    tracker = open_tracker(*trials)
    good = tracker._store.client.log_batch

    def broken(*_, **__):
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(tracker._store.client, "log_batch", broken)
    with caplog.at_level(logging.WARNING):
        for trial in trials:
            tracker.started(trial)
            finish(results, trial)
            tracker.ended(trial)
    assert set(tracker.pending) == {trial.name for trial in trials}
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    assert "the server is gone" in caplog.text

    monkeypatch.setattr(tracker._store.client, "log_batch", good)
    tracker.close(None, {})
    assert tracker.pending == ()
    assert [view.count(run) for run in view.runs()] == [logged_points(5)] * 3
    assert {run.info.status for run in view.runs()} == {"FINISHED"}


@pytest.mark.fault
def test_a_store_that_fails_is_not_asked_for_a_while(results, open_tracker, monkeypatch):
    trial = make_trial()
    finish(results, trial)
    tracker = open_tracker(trial)
    now, calls = [0.0], []
    monkeypatch.setattr(tracker_module.time, "monotonic", lambda: now[0])

    def broken(*_, **__):
        calls.append(now[0])
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(tracker._store.client, "search_runs", broken)
    tracker.sync(trial)
    tracker.sync(trial)
    assert calls == [0.0]
    now[0] = 31.0  # the pause is 30 seconds
    tracker.sync(trial)
    assert calls == [0.0, 31.0]


@pytest.mark.fault
def test_damaged_file_of_one_trial_does_not_keep_others_out(results, open_tracker, view):
    damaged, good = make_trial(seed=0), make_trial(seed=1)
    for trial in (damaged, good):
        finish(results, trial)
    (results / damaged.name / "history.parquet").write_bytes(b"not a table")
    tracker = open_tracker(damaged, good)
    tracker.sync_all([damaged, good])
    assert tracker.pending == (damaged.name,)
    assert view.run().info.status == "FINISHED"


@pytest.mark.fault
def test_lost_store_is_made_again_from_the_files(results, open_tracker, view, migrated):
    trials = [make_trial(seed=seed) for seed in range(2)]
    for trial in trials:
        finish(results, trial)
    open_tracker(*trials).sync_all(trials)
    before = [(run.info.run_name, run.data.metrics, run.info.start_time) for run in view.runs()]
    other = results.parent / "elsewhere"
    uri = f"sqlite:///{other / 'again.db'}"
    other.mkdir()
    shutil.copy(migrated, other / "again.db")
    open_tracker(*trials, uri=uri).sync_all(trials)

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    identity = client.get_experiment_by_name("tiny").experiment_id
    again = client.search_runs([identity], "tags.kind = 'trial'")
    after = [(run.info.run_name, run.data.metrics, run.info.start_time) for run in again]
    assert sorted(after, key=str) == sorted(before, key=str)


def test_row_that_was_renamed_is_shown_with_its_new_label(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    plan = make_plan(trial)
    renamed = type(plan)(study=plan.study, cells=(Cell(trial, "LSQ, tuned"),))
    tracker = open_tracker(plan=renamed)
    tracker.sync_all([trial])
    run = view.run()
    assert run.data.tags["row"] == "LSQ, tuned"
    assert run.info.run_name == "LSQ, tuned · resnet8 · W4A32 · seed 0"
    assert view.count(run) == logged_points(5)


def test_deleted_experiment_comes_back(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    experiment = view.client.get_experiment_by_name("tiny")
    view.client.delete_experiment(experiment.experiment_id)
    open_tracker(trial).sync_all([trial])
    assert view.client.get_experiment_by_name("tiny").lifecycle_stage == "active"
    assert view.count(view.run()) == logged_points(5)


@pytest.mark.fault
def test_moved_results_are_refused_with_what_to_do(results, open_tracker):
    open_tracker(make_trial())
    moved = results.with_name("moved")
    shutil.copytree(results, moved)
    study_file = results.parent / "tiny.yaml"
    with pytest.raises(UsageError, match="the results were moved; delete .*moved/mlflow.db"):
        tracker_module.Tracker.open(make_plan(), None, moved, study_file, {})


def test_view_that_a_user_changed_is_kept(results, open_tracker, view):
    open_tracker(make_trial())
    experiment = view.client.get_experiment_by_name("tiny")
    assert "final/test/accuracy" in experiment.tags["mlflow.sharedViewState.qbench"]
    view.client.set_experiment_tag(
        experiment.experiment_id, "mlflow.sharedViewState.qbench", "mine"
    )
    open_tracker(make_trial())
    kept = view.client.get_experiment(experiment.experiment_id)
    assert kept.tags["mlflow.sharedViewState.qbench"] == "mine"


def test_run_of_an_older_layout_is_made_anew(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    old = view.run().info.run_id
    view.client.delete_tag(old, "qbench.layout")
    open_tracker(trial).sync_all([trial])
    assert view.run().info.run_id != old
    assert view.count(view.run()) == logged_points(5)


def test_description_that_a_user_wrote_is_kept(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    run = view.run()
    view.client.set_tag(run.info.run_id, "mlflow.note.content", "mine")
    view.client.set_tag(run.info.run_id, "row", "another")  # so that the run is written again
    open_tracker(trial).sync_all([trial])
    assert view.run().data.tags["mlflow.note.content"] == "mine"
    assert view.run().data.tags["row"] == "lsq"


def test_names_tell_the_data_set_where_there_are_several(results, open_tracker, view):
    trials = [make_trial(), make_trial().model_copy(update={"data": TrialData(name="cifar10")})]
    for trial in trials:
        finish(results, trial)
    open_tracker(*trials).sync_all(trials)
    assert {run.info.run_name for run in view.runs()} == {
        "lsq · resnet8 · digits · W4A32 · seed 0",
        "lsq · resnet8 · cifar10 · W4A32 · seed 0",
    }


def test_saved_views_name_columns_that_runs_have(results, open_tracker, view):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    tags = view.client.get_experiment_by_name("tiny").tags
    states = [
        json.loads(json.loads(value)["state"])
        for key, value in tags.items()
        if key.startswith("mlflow.sharedViewState.")
    ]
    assert len(states) == 2  # trials, and their means over seeds
    data = view.run().data
    known = {f"metrics.`{key}`" for key in data.metrics} | {f"tags.`{key}`" for key in data.tags}
    for state in states:
        assert set(state["selectedColumns"]) <= known
    assert {group["groupByData"] for group in states[1]["groupBy"]["groupByKeys"]} <= set(data.tags)
