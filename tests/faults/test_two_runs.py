"""Two runs at once never work on one trial."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_study import run, same_files, trials, write_study
from filelock import FileLock

from qbench.execution.jobs import Job, run_job
from qbench.store import RESULT_FILES, TrialFolder
from qbench.study.schema import Component
from qbench.study.trial import Trial, TrialData
from qbench.training.site import Site

pytestmark = pytest.mark.fault


def test_a_second_run_says_that_one_is_under_way(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "results").mkdir()
    with FileLock(tmp_path / "results" / ".small.lock"):  # as the first run holds it
        second = run(tmp_path)
    assert second.exit_code == 2
    (sentence,) = [line for line in second.output.splitlines() if line.startswith("error: ")]
    assert "'small' is being run by another process" in sentence
    assert "--shard" in sentence
    assert not trials(tmp_path)


def slow_trial(trial: Trial, site: Site) -> object:
    """Notes when it works on a trial, and takes its time."""
    folder = TrialFolder(site.results, trial.name)
    with (site.results / "log").open("a") as log:
        log.write(f"start {os.getpid()}\n")
    yield {"epoch": 0}
    time.sleep(0.5)
    for name in RESULT_FILES:
        folder.write_json(name, {})
    with (site.results / "log").open("a") as log:
        log.write(f"end {os.getpid()}\n")
    folder.finish()


def work(job: Job, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for _ in run_job(job, f"{__name__}:slow_trial"):
        pass


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork"
)
def test_runs_of_other_studies_or_parts_wait_for_a_trial_that_they_share(tmp_path: Path) -> None:
    trial = Trial(
        quantizer=Component(name="ste"), model=Component(name="stub"),
        data=TrialData(name="none"), bits="W1A32", seed=0,
    )  # fmt: skip
    job = Job(trial, Site(tmp_path, tmp_path))
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(3)
    workers = [fork.Process(target=work, args=(job, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    told = (tmp_path / "log").read_text().split()
    assert told[::2] == ["start", "end"], "one works, the others find it done"
    assert TrialFolder(tmp_path, trial.name).status() == "done"


@pytest.mark.slow
def test_parts_of_a_study_at_once_share_a_folder(tmp_path: Path, left_alone: Path) -> None:
    write_study(tmp_path)
    command = [sys.executable, "-m", "qbench.run", "small.yaml", "--local", "--shard"]
    parts = [
        subprocess.Popen([*command, f"{part}/2"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for part in (1, 2)
    ]
    outputs = [part.communicate(timeout=200)[0] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], outputs
    assert same_files(tmp_path) == same_files(left_alone)
    whole = run(tmp_path)
    assert whole.exit_code == 0
    assert "0 to run, 3 done" in whole.output
