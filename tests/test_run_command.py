"""The run command as a user types it: a real Ray, a real MLflow, a real kill."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("run")  # one worker: they share a run, and use both cores

STUDY = """
study: small
question: Does the whole way work?
quantizers: [float, ste, lsq]
models: [{name: mlp, options: {width: 32}}]
data:
  sets: [{name: synthetic, options: {classes: 4, channels: 1, train: 256, test: 64}}]
  validation: 32
bits: [W4A32, W2A2]
seeds: [0]
start: float
training: {epochs: 4, batch: 16, optimizer: {learning_rate: 0.05}, reestimation_batches: 2}
"""
OFTEN = "resources.checkpoint_seconds=0.001"
SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")


def command(folder: Path, *arguments: str, module: str = "run") -> list[str]:
    (folder / "small.yaml").write_text(STUDY)
    return [sys.executable, "-m", f"qbench.{module}", "small.yaml", *arguments]


def run(folder: Path, *arguments: str, module: str = "run") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments, module=module), cwd=folder, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip


def result_files(folder: Path) -> dict[str, bytes]:
    trials = [path.parent for path in (folder / "results").glob("*/done")]
    return {
        f"{trial.name}/{name}": (trial / name).read_bytes() for trial in trials for name in SAME
    }


def tracked(folder: Path) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """MLflow's runs by name and status, and how often each metric point of a run stands there."""
    with sqlite3.connect(folder / "results" / "mlflow.db") as store:
        runs = store.execute("select name, status from runs order by name").fetchall()
        points = store.execute(
            "select run_uuid || key || step, count(*) from metrics group by run_uuid, key, step"
        ).fetchall()
    return runs, points


def start_from(migrated: Path, folder: Path) -> None:
    """Track into a copy of an empty store."""
    (folder / "results").mkdir()
    shutil.copy(migrated, folder / "results")


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """The study as one process runs it, without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    start_from(migrated, folder)
    done = run(folder, "--local")
    assert done.returncode == 0, done.stderr
    assert "[5/5] done" in done.stdout
    return folder


def test_a_study_ends_with_table_report_and_runs(left_alone: Path) -> None:
    assert len(result_files(left_alone)) == 5 * len(SAME)
    report = (left_alone / "reports" / "small" / "report.md").read_text()
    assert "Does the whole way work?" in report
    runs, _ = tracked(left_alone)
    assert len(runs) == 6  # the study, and five trials
    assert {status for _, status in runs} == {"FINISHED"}
    again = run(left_alone)
    assert again.returncode == 0
    assert "0 to run, 5 done" in again.stdout
    assert "mlflow ui" in again.stdout
    assert tracked(left_alone)[0] == runs


@pytest.mark.fault
def test_track_makes_a_lost_store_again(left_alone: Path, tmp_path: Path) -> None:
    before = tracked(left_alone)[0]
    (left_alone / "results" / "mlflow.db").unlink()
    done = run(left_alone, module="track")
    assert done.returncode == 0, done.stderr
    assert "mlflow ui" in done.stdout
    runs, points = tracked(left_alone)
    assert runs == before
    assert max(count for _, count in points) == 1
    for module in ("track", "report"):
        nothing = run(tmp_path, module=module)
        assert nothing.returncode == 2
        assert nothing.stderr.startswith("error: no trial of 'small' has files")
    assert not (tmp_path / "reports").exists(), "a report that may be there is left alone"


@pytest.mark.fault
@pytest.mark.parametrize(
    "continued", [["--local"], pytest.param([], marks=pytest.mark.slow)], ids=["alone", "by ray"]
)
def test_a_killed_study_ends_as_one_left_alone(
    left_alone: Path, tmp_path: Path, migrated: Path, continued: list[str]
) -> None:
    """SIGKILL in the middle, through Ray; then the same command."""
    start_from(migrated, tmp_path)
    running = subprocess.Popen(
        command(tmp_path, OFTEN), cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    results, deadline = tmp_path / "results", time.monotonic() + 150
    while time.monotonic() < deadline and running.poll() is None:
        if list(results.glob("*/done")) and any(
            not (path.parent / "done").exists() for path in results.glob("*/checkpoint.pt")
        ):
            break  # one trial is done, another is under way
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = len(list(results.glob("*/done")))
    assert 1 <= finished < 5
    again = run(tmp_path, *continued, "report.formats=[csv]")
    assert again.returncode == 0, again.stdout + again.stderr
    told = re.search(r"(\d) to run, (\d) done", again.stdout)
    assert told is not None
    # A worker may end its trial between the kill and the count.
    assert int(told[1]) + int(told[2]) == 5
    assert int(told[2]) >= finished
    assert result_files(tmp_path) == result_files(left_alone)
    runs, points = tracked(tmp_path)
    assert runs == tracked(left_alone)[0]
    assert max(count for _, count in points) == 1


@pytest.mark.fault
def test_an_interrupted_study_says_so_and_continues(tmp_path: Path) -> None:
    running = subprocess.Popen(
        command(tmp_path, "--local", OFTEN, "tracking.enabled=false", "training.epochs=400"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not list((tmp_path / "results").glob("*/checkpoint.pt")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped: 0 of 5 trials are done; the same command continues" in output
    assert "Traceback" not in output
    plan = run(tmp_path, "training.epochs=400", "--plan", "--json")
    assert len(json.loads(plan.stdout)["cut_off"]) == 1


@pytest.mark.fault
def test_a_failing_trial_does_not_stop_the_study(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from qbench.quantizers.contract import Quantizer\n"
        "from qbench.registry import quantizers\n\n\n"
        '@quantizers.register("broken")\n'
        "class Broken(Quantizer):\n"
        '    """Raises."""\n\n'
        '    bits = {"weight": (4,)}\n\n'
        "    def forward(self, x):\n"
        '        raise ValueError("this plug-in is broken")\n\n'
        "    codes = forward\n"
    )
    done = run(
        tmp_path, "--local", "tracking.enabled=false", "plugins=[broken.py]", "bits=[W4A32]",
        "quantizers=[float, broken, ste]", "training.epochs=1", "--json",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["done"] == 2
    (reason,) = outcome["failed"].values()
    assert reason == "error: ValueError: this plug-in is broken"
    assert "broken" in (tmp_path / "reports" / "small" / "report.md").read_text()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["training.epoch=3"], ["override 'training.epoch=3'", "did you mean 'epochs'"]),
        (["quantizers=[float, sty]"], ["'sty'", "did you mean 'ste'"]),
        (["quantizers=[lsq]", "bits=[W1A32]"], ["lsq", "1-bit"]),
        (["quantizers=[quantnet]", "bits=[W1A1]"], ["quantnet", "activations: {name: ste}"]),
        (["data.sets=[cifar100]", "data.validation=0"], ["cifar100", "data"]),
        (["resources.gpus=1"], ["GPU"]),
        (["resources.gpus=4", "training.batch=2"], ["have 2 images", "training.batch"]),
        (["tracking.uri=http://127.0.0.1:9"], ["127.0.0.1:9"]),
        (["--address", "127.0.0.1:9"], ["127.0.0.1:9"]),
        (["--only", "quantizr == 'ste'"], ["quantizr", "quantizer"]),
        (["--shard", "3/2"], ["3/2"]),
        (["--results", "/proc/nowhere"], ["/proc/nowhere", "--results"]),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    if "resources.gpus=1" in arguments and os.path.exists("/dev/nvidia0"):
        pytest.skip("this machine has a GPU")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in sentence
    assert not list((tmp_path / "results").glob("*/trial.json"))
