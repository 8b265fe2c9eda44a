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
from click.testing import Result
from typed import typed

pytestmark = pytest.mark.long

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
report: {formats: [markdown]}
"""
OFTEN = "resources.checkpoint_seconds=0.001"
SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")


def start(folder: Path, *arguments: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    (folder / "small.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "qbench.run", "small.yaml", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *arguments: str, command: str = "run") -> Result:
    """A command in this process."""
    (folder / "small.yaml").write_text(STUDY)
    return typed(folder, command, "small.yaml", *arguments)


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
    running = start(folder, "--local")
    output, _ = running.communicate(timeout=200)
    assert running.returncode == 0, output
    assert "[5/5] done" in output
    return folder


def test_a_study_ends_with_table_report_and_runs(left_alone: Path) -> None:
    assert len(result_files(left_alone)) == 5 * len(SAME)
    report = (left_alone / "reports" / "small" / "report.md").read_text()
    assert "Does the whole way work?" in report
    runs, _ = tracked(left_alone)
    assert len(runs) == 6  # the study, and five trials
    assert {status for _, status in runs} == {"FINISHED"}
    again = run(left_alone)
    assert again.exit_code == 0
    assert "0 to run, 5 done" in again.stdout
    assert "mlflow ui" in again.stdout
    assert tracked(left_alone)[0] == runs


@pytest.mark.fault
def test_track_makes_a_lost_store_again(left_alone: Path, tmp_path: Path) -> None:
    before = tracked(left_alone)[0]
    (left_alone / "results" / "mlflow.db").unlink()
    done = run(left_alone, command="track")
    assert done.exit_code == 0, done.output
    assert "mlflow ui" in done.stdout
    runs, points = tracked(left_alone)
    assert runs == before
    assert max(count for _, count in points) == 1
    for command in ("track", "report"):
        nothing = run(tmp_path, command=command)
        assert nothing.exit_code == 2
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
    running = start(tmp_path, OFTEN, output=subprocess.DEVNULL)
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
    assert again.exit_code == 0, again.output
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
    running = start(tmp_path, "--local", OFTEN, "tracking.enabled=false", "training.epochs=400")
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
def test_a_failing_trial_does_not_stop_the_study(tmp_path: Path, own_registries: None) -> None:
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
    assert done.exit_code == 3, done.output
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
    assert done.exit_code == 2
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in sentence
    assert not list((tmp_path / "results").glob("*/trial.json"))
