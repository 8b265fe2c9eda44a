"""A trial of several processes: the numbers of one, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qbench.execution.jobs import Job
from qbench.store import TrialFolder
from qbench.study.trial import Trial
from qbench.training.run import run_trial
from qbench.training.site import Site

MakeTrial = Callable[..., Trial]
pytestmark = pytest.mark.long


def history(folder: TrialFolder) -> dict[tuple[int, str], float]:
    rows = folder.read_table("history.parquet").to_pylist()
    return {(row["epoch"], row["name"]): row["value"] for row in rows}


def of_epochs(trial: Trial, epochs: int) -> Trial:
    recipe = trial.training.model_copy(update={"epochs": epochs, "batch": 15})
    return trial.model_copy(update={"training": recipe})  # one has 8 images of a batch, one 7


@pytest.mark.parametrize(
    ("quantizer", "bits", "tolerance"),
    [
        # eight steps of float32 sums in another order
        pytest.param("float", "W32A32", 1e-5, marks=pytest.mark.slow),
        ("lsq", "W4A4", 1e-2),  # with codes that flip on the way, of few images
    ],
)
def test_two_processes_train_as_one(
    quantizer: str, bits: str, tolerance: float, site: Site, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = of_epochs(make_trial(quantizer, bits), 1)
    found = {}
    for processes in (1, 2):
        place = replace(site, results=tmp_path / str(processes), processes=processes)
        for _ in run_trial(trial, place):
            pass
        folder = TrialFolder(place.results, trial.name)
        assert folder.status() == "done", folder.failure()
        found[processes] = history(folder)
        engine = folder.read_json("environment.json")["engine"]
    assert engine == "eager, 2 processes"
    assert set(found[1]) == set(found[2])
    assert found[2][1, "train/loss"] == pytest.approx(found[1][1, "train/loss"], rel=tolerance)
    assert found[2][1, "test/loss"] == pytest.approx(found[1][1, "test/loss"], rel=10 * tolerance)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_peer(pid: int) -> bool:
    try:
        return b"qbench.training.peers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.fault
@on_linux
def test_a_trial_whose_other_process_dies_fails_and_says_so(
    site: Site, make_trial: MakeTrial
) -> None:
    trial = of_epochs(make_trial(), 1000)
    epochs = run_trial(trial, replace(site, processes=2))
    next(epochs)
    (peer,) = filter(is_peer, children(os.getpid()))
    os.kill(peer, signal.SIGKILL)
    for _ in epochs:
        pass
    failure = TrialFolder(site.results, trial.name).failure()
    assert failure is not None
    assert "another process of the trial" in failure.message
    assert not any(map(is_peer, children(os.getpid())))


RUN = """
import sys
from qbench.execution.jobs import Job
from qbench.training.run import run_trial
job = Job.from_json(sys.stdin.read())
for _ in run_trial(job.trial, job.site):
    print("epoch", flush=True)
"""


@pytest.mark.fault
@pytest.mark.slow  # starts two processes; one that dies is above
@on_linux
def test_the_other_processes_of_a_killed_trial_end(site: Site, make_trial: MakeTrial) -> None:
    job = Job(of_epochs(make_trial(), 1000), replace(site, processes=2))
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job.to_json())
        process.stdin.close()
        process.stdout.readline()
        (peer,) = filter(is_peer, children(process.pid))
        process.kill()
    until = time.monotonic() + 30  # on a busy machine; a pipe closes at once
    while is_peer(peer) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_peer(peer)
