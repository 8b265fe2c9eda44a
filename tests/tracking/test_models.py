import pytest
from mlflow.exceptions import MlflowException
from trial_files import BEGUN, fail, finish, make_trial

from qbench.store import TrialFolder
from qbench.tracking import runs as runs_module


@pytest.fixture
def models(view):
    def found():
        experiment = view.client.get_experiment_by_name("tiny")
        return list(view.client.search_logged_models([experiment.experiment_id]))

    return found


def outputs(run):
    return [output.model_id for output in run.outputs.model_outputs]


def test_done_trial_has_a_model_with_its_file_and_scores(results, open_tracker, view, models):
    trial = make_trial()
    folder = finish(results, trial)
    open_tracker(trial).sync_all([trial])

    (model,) = models()
    run = view.run()
    assert model.name == run.info.run_name == "lsq · resnet8 · W4A32 · seed 0"
    assert model.status == "READY"
    assert model.source_run_id == run.info.run_id
    assert outputs(view.client.get_run(run.info.run_id)) == [model.model_id]
    assert (model.params["bits"], model.tags["row"]) == ("W4A32", "lsq")
    assert model.tags["file"] == str(folder.path / "deployed.safetensors")
    (item,) = view.client.list_logged_model_artifacts(model.model_id)
    assert item.path == "deployed.safetensors"
    scores = {metric.key: metric for metric in model.metrics}
    assert {key for key in run.data.metrics if key.startswith("final/test/")} == scores.keys()
    accuracy = scores["final/test/accuracy"]
    assert accuracy.value == run.data.metrics["final/test/accuracy"]
    assert (accuracy.dataset_name, accuracy.dataset_digest) == ("digits", "3fa9c1d20b7e-test")


def test_model_is_found_again(results, open_tracker, view, models):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    run = view.run()
    view.client.set_tag(run.info.run_id, "state", "running")  # as if cut off before the last tags
    tracker = open_tracker(trial)
    for _ in range(2):
        tracker.started(trial)
        tracker.ended(trial)
    (model,) = models()
    assert outputs(view.client.get_run(run.info.run_id)) == [model.model_id]
    assert len(model.metrics) == len({metric.key for metric in model.metrics})


def test_model_that_was_cut_off_is_completed(results, open_tracker, view, models, monkeypatch):
    trial = make_trial()
    finish(results, trial)
    tracker = open_tracker(trial)

    def broken(*_, **__):
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(tracker._store.client, "log_model_artifact", broken)
    tracker.sync_all([trial])
    assert [model.status for model in models()] == ["PENDING"]
    assert tracker.pending == (trial.name,)

    open_tracker(trial).sync_all([trial])
    (model,) = models()
    assert model.status == "READY"
    assert view.client.list_logged_model_artifacts(model.model_id)
    assert outputs(view.client.get_run(view.run().info.run_id)) == [model.model_id]


def test_trial_that_is_trained_anew_gets_a_new_model(results, open_tracker, view, models):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    (old,) = models()
    finish(results, trial, 4, begun=BEGUN + 1000)
    open_tracker(trial).sync_all([trial])
    (model,) = models()
    assert model.model_id != old.model_id
    assert model.source_run_id == view.run().info.run_id


def test_network_that_is_trained_anew_and_fails_leaves_no_model(
    results, open_tracker, view, models
):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    TrialFolder(results, trial.name).clear()
    tracker = open_tracker(trial)
    tracker.started(trial)
    fail(results, trial)
    tracker.ended(trial)
    assert models() == []
    run = view.run()
    assert run.info.status == "FAILED"
    assert not run.data.metrics


def test_row_that_was_renamed_renames_the_row_of_its_model(results, open_tracker, models):
    trial = make_trial()
    finish(results, trial)
    open_tracker(trial).sync_all([trial])
    tracker = open_tracker(trial)
    tracker._runs.labels[trial.name] = "LSQ, tuned"
    tracker.sync_all([trial])
    (model,) = models()
    assert model.tags["row"] == "LSQ, tuned"
    assert len(model.metrics) == len({metric.key for metric in model.metrics})


def test_failed_and_interrupted_trials_have_no_model(results, open_tracker, models):
    failed, interrupted = make_trial(seed=0), make_trial(seed=1)
    fail(results, failed)
    TrialFolder(results, interrupted.name).write_trial(interrupted, "c0de0001")
    open_tracker(failed, interrupted).sync_all([failed, interrupted])
    assert models() == []


def test_large_network_stays_in_the_results(results, open_tracker, view, models, monkeypatch):
    monkeypatch.setattr(runs_module, "DEPLOYED_BYTES", 5)  # the file of the test has as many
    trial = make_trial()
    folder = finish(results, trial)
    open_tracker(trial).sync_all([trial])
    (model,) = models()
    assert view.client.list_logged_model_artifacts(model.model_id) == []
    assert model.tags["file"] == str(folder.path / "deployed.safetensors")


def test_label_that_is_no_name_of_a_model_is_made_one(results, open_tracker, models):
    trial = make_trial(options={"slope": 0.5})
    finish(results, trial)
    tracker = open_tracker(trial)
    tracker._runs.labels[trial.name] = "lsq, 'slope': 0.5/s %"
    tracker.sync_all([trial])
    assert tracker.pending == ()
    (model,) = models()
    assert model.name == "lsq, _slope__ 0_5_s _ · resnet8 · W4A32 · seed 0"
    assert model.tags["row"] == "lsq, 'slope': 0.5/s %"


def test_server_without_logged_models_is_served(results, open_tracker, view, monkeypatch):
    trial = make_trial()
    finish(results, trial)
    tracker = open_tracker(trial)

    def unknown(*_, **__):
        error = MlflowException("there is no such page")
        error.error_code = "ENDPOINT_NOT_FOUND"  # what a server before MLflow 3 answers
        raise error

    monkeypatch.setattr(tracker._store.client, "search_logged_models", unknown)
    tracker.sync_all([trial])
    assert tracker.pending == ()
    assert view.run().info.status == "FINISHED"
    assert "final/test/accuracy" in view.run().data.metrics


def _noted(name, call, calls):
    def noted(*args, **more):
        calls.append(name)
        return call(*args, **more)

    return noted


def test_models_are_looked_up_by_one_call(results, open_tracker, monkeypatch):
    trials = [make_trial(seed=seed) for seed in range(3)]
    for trial in trials:
        finish(results, trial)
    tracker = open_tracker(*trials)
    client, calls = tracker._store.client, []
    for name in (
        "search_logged_models", "create_logged_model", "log_model_artifact",
        "finalize_logged_model", "log_outputs", "log_batch", "search_runs",
    ):  # fmt: skip
        monkeypatch.setattr(client, name, _noted(name, getattr(client, name), calls))
    tracker.sync_all(trials)
    counts = {name: calls.count(name) for name in calls}
    assert counts == {
        "search_runs": 3,
        "log_batch": 9,  # parameters, metrics, and the tags that end a run
        "search_logged_models": 1,
        "create_logged_model": 3,
        "log_model_artifact": 3,
        "finalize_logged_model": 3,
        "log_outputs": 3,
    }
    calls.clear()
    tracker.sync_all(trials)
    assert calls == []
