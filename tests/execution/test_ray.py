"""Trials through a real Ray: one session for what runs inside, a process of its own for Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stub_jobs import Diary, stub_job

from qbench.datasets.prepare import prepare
from qbench.execution.environment import environment, settings
from qbench.execution.execute import execute
from qbench.execution.jobs import Job, Outcome
from qbench.execution.resources import count_cpus
from qbench.store import RESULT_FILES, TrialFolder
from qbench.study.schema import Component, Resources, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.site import Site

pytestmark = pytest.mark.long
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A Ray whose workers find the stub."""
    with environment(**settings(None), PYTHONPATH=str(HERE)):
        from qbench.execution.connection import connected

        with connected(Resources(), None):
            yield


def make_jobs(results: Path) -> dict[str, Job]:
    jobs = {
        "start": stub_job(results, 0, seconds=0.7),  # an epoch or two a report
        "terminated once": stub_job(results, 9, act="terminated once"),
        "diverges": stub_job(results, 2, act="diverge"),
        "raises": stub_job(results, 3, act="raise"),
        "exits": stub_job(results, 4, act="exit"),
        "short": stub_job(results, 5, epochs=500),
        "hangs": stub_job(results, 10, act="hang"),
    }
    short = replace(jobs["hangs"].site, timeout_minutes=1 / 60)
    jobs["hangs"] = replace(jobs["hangs"], site=short)
    jobs["needs start"] = stub_job(results, 6, jobs["start"])
    jobs["needs failed"] = stub_job(results, 7, jobs["diverges"])
    return jobs


class Run:
    """What one run through Ray left behind."""

    def __init__(self, results: Path) -> None:
        self.results, self.diary = results, Diary()
        self.jobs = make_jobs(results)
        self.jobs["dies"] = stub_job(results, 8, act="die")
        self.names = {title: job.trial.name for title, job in self.jobs.items()}
        self.outcome: Outcome = execute(
            [*self.jobs.values()], Resources(), self.diary, local=False, run="trial_stubs:train"
        )
        lines = (results / "starts").read_text().splitlines()
        self.starts = [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def run(session: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("ray"))


def test_every_job_ends_once(run: Run) -> None:
    failed = {"diverges", "raises", "exits", "needs failed", "dies", "hangs"}
    assert set(run.outcome.failed) == {run.names[title] for title in failed}
    assert set(run.outcome.done) == set(run.names.values()) - set(run.outcome.failed)
    ends = Counter(name for event, name in run.diary.events if event == "ended")
    assert ends == Counter(run.names.values())


def test_a_job_starts_once_unless_its_worker_dies(run: Run) -> None:
    starts = Counter(start["name"] for start in run.starts)
    twice = {run.names[title] for title in ("dies", "terminated once")}
    assert starts == {
        name: 2 if name in twice else 1
        for name in run.names.values()
        if name != run.names["needs failed"]
    }


def test_workers_are_reused(run: Run) -> None:
    # two at first, and one for each of the four deaths
    assert len({start["pid"] for start in run.starts}) <= min(count_cpus(), len(run.jobs)) + 4
    assert len(run.starts) == 11


@pytest.mark.fault
def test_a_job_whose_worker_died_continues(run: Run) -> None:
    name = run.names["terminated once"]
    said = [values for told, values in run.diary.epochs if told == name]
    assert said[-1] == {"epoch": 1, "epochs": 2, "first": 1}
    killed = [start for start in run.starts if start["name"] == run.names["dies"]]
    assert [start["first"] for start in killed] == [0, 1]


@pytest.mark.fault
def test_a_job_whose_worker_always_dies_is_recorded_with_its_last_words(run: Run) -> None:
    failure = TrialFolder(run.results, run.names["dies"]).failure()
    assert failure is not None
    assert failure.reason == "error"
    assert failure.message.startswith("its worker died 2 times")
    assert "last words" in failure.details


@pytest.mark.fault
def test_a_job_that_hangs_is_ended_and_not_tried_again(run: Run) -> None:
    failure = TrialFolder(run.results, run.names["hangs"]).failure()
    assert failure is not None
    assert failure.reason == "timeout"
    assert "resources.timeout_minutes" in failure.message


def test_short_epochs_are_told_about_once_a_second(run: Run) -> None:
    said = [values["epoch"] for name, values in run.diary.epochs if name == run.names["short"]]
    assert said[-1] == 499, "the last is always told"
    assert len(said) < 100, "of 500"


def test_ray_leaves_nothing_in_the_results(run: Run) -> None:
    left = {path.name for path in run.results.iterdir()}
    assert left - set(run.names.values()) == {"starts"}


def test_this_process_writes_the_same_files(run: Run, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    del jobs["terminated once"], jobs["hangs"]  # would end this process
    execute([*jobs.values()], Resources(), Diary(), local=True, run="trial_stubs:train")
    for job in jobs.values():
        here, there = tmp_path / job.trial.name, run.results / job.trial.name
        assert sorted(os.listdir(here)) == sorted(os.listdir(there))
        for file in here.iterdir():
            if file.name != "failed.json":  # holds a traceback
                assert file.read_bytes() == (there / file.name).read_bytes()


@pytest.mark.slow  # starts Ray; without it, tests/training/test_run_trial.py
def test_results_do_not_depend_on_what_the_worker_did_before(session: None, tmp_path: Path) -> None:
    data = TrialData(
        name="synthetic", options={"classes": 4, "size": 8, "channels": 1, "train": 96, "test": 40}
    )
    images = prepare(data, tmp_path / "images", tmp_path / "cache")
    trials = [
        Trial(
            quantizer=Component(name=name),
            model=Component(name="resnet8"),
            data=data,
            bits="W2A4",
            seed=seed,
            training=Training(epochs=2, batch=16, reestimation_batches=2),
        )
        for seed, name in enumerate(["lsq", "dorefa"])
    ]
    one_at_a_time = Resources(cpus=count_cpus())

    def run_in(folder: str, order: list[Trial], *, local: bool) -> None:
        site = Site(results=tmp_path / folder, images=images)
        jobs = [Job(trial, site) for trial in order]
        outcome = execute(jobs, one_at_a_time, Diary(), local=local)
        assert len(outcome.done) == len(order)

    run_in("ray", trials, local=False)
    run_in("here", trials[::-1], local=True)
    compared = set(RESULT_FILES) - {"seconds.parquet", "environment.json"}
    for trial in trials:
        for file in compared:
            one, other = (tmp_path / where / trial.name / file for where in ("ray", "here"))
            assert one.read_bytes() == other.read_bytes(), f"{file} of {trial.name}"


STUDY = """
import sys
from pathlib import Path
from stub_jobs import Diary, stub_job
from qbench.execution.execute import execute
from qbench.study.schema import Resources

class Loud(Diary):
    def epoch(self, name, values):
        print("epoch", flush=True)

jobs = [stub_job(Path(sys.argv[1]), seed, seconds=0.5, epochs=1000) for seed in range(4)]
try:
    execute(jobs, Resources(), Loud(), local=False, run="trial_stubs:train")
except KeyboardInterrupt:
    sys.exit(130)
"""


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [d for child in map(int, children) for d in (child, *descendants(child))]


@pytest.mark.fault
@pytest.mark.slow  # starts Ray; one Ctrl-C in tests/test_run_command.py
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_stops_everything_quietly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUDY, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal gives to a command
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "epoch\n"
    started = descendants(process.pid)
    assert started, "Ray runs"
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert set(said.splitlines()) <= {"epoch"}
    assert errors == ""
    until = time.monotonic() + 20  # a busy machine takes its time to reap
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < until:
        time.sleep(0.1)
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    assert not (tmp_path / ".ray").exists()
