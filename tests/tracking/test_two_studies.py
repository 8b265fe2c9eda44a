"""Two studies write into one SQLite store at once."""

import multiprocessing

import pytest
from trial_files import finish, logged_points, make_plan, make_trial

from qbench.tracking.background import BackgroundTracker

TRIALS = 4


def write(study, results, barrier, answers):
    try:
        trials = [make_trial(seed=seed) for seed in range(TRIALS)]
        plan = make_plan(*trials, study=study)
        uri = f"sqlite:///{results.parent / 'results' / 'mlflow.db'}"
        tracking = plan.study.tracking.model_copy(update={"uri": uri})
        plan = type(plan)(plan.study.model_copy(update={"tracking": tracking}), plan.cells)
        tracker = BackgroundTracker(plan)
        barrier.wait()
        tracker.open(results, results.parent / "tiny.yaml", {})
        for trial in trials:
            tracker.started(trial.name)
            finish(results, trial)
            tracker.ended(trial.name, "done")
        answers.put(tracker.close(None, {"trials/done": TRIALS}))
    except BaseException as error:
        answers.put(repr(error))


@pytest.mark.fault
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork"
)
def test_two_studies_at_once_lose_and_double_nothing(results, view):
    fork = multiprocessing.get_context("fork")  # mlflow is imported once
    barrier, answers = fork.Barrier(2), fork.Queue()
    (results.parent / "tiny.yaml").write_text("study: tiny\n")
    names = ("one", "two")
    writers = [
        fork.Process(target=write, args=(name, results.parent / name, barrier, answers))
        for name in names
    ]
    for writer in writers:
        writer.start()
    assert [answers.get(timeout=120) for _ in writers] == [(), ()]
    for writer in writers:
        writer.join()
    for name in names:
        identity = view.client.get_experiment_by_name(name).experiment_id
        runs = view.client.search_runs([identity], "tags.kind = 'trial'")
        assert [run.info.status for run in runs] == ["FINISHED"] * TRIALS
        assert [view.count(run) for run in runs] == [logged_points(5)] * TRIALS
