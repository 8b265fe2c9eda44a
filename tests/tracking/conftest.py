import shutil

import pytest
from trial_files import make_plan

from qbench.tracking.tracker import Tracker

PROVENANCE = {
    "commit": "0123456789ab",
    "host": "here",
    "device": "cpu",
    "datasets": {"digits": {"digest": "3fa9c1d20b7e", "source": "scikit-learn"}},
}


@pytest.fixture
def results(tmp_path, migrated):
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    return folder


@pytest.fixture
def open_tracker(results):
    """Opens a tracker on the results; every call is what a new process would see."""
    study_file = results.parent / "tiny.yaml"
    study_file.write_text("study: tiny\n")

    def open_on(*trials, uri=None, plan=None):
        return Tracker.open(plan or make_plan(*trials), uri, results, study_file, PROVENANCE)

    return open_on


class View:
    """What is in the store, read without qbench."""

    def __init__(self, results):
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")

    def runs(self, kind="trial"):
        experiment = self.client.get_experiment_by_name("tiny")
        return self.client.search_runs(
            [experiment.experiment_id], f"tags.kind = '{kind}'", max_results=1000
        )

    def run(self):
        (only,) = self.runs()
        return only

    def points(self, run, key):
        history = self.client.get_metric_history(run.info.run_id, key)
        return [(point.step, point.value) for point in sorted(history, key=lambda p: p.step)]

    def count(self, run):
        return sum(len(self.points(run, key)) for key in run.data.metrics)

    def files(self, run, folder=None):
        return {item.path for item in self.client.list_artifacts(run.info.run_id, folder)}


@pytest.fixture
def view(results):
    return View(results)
