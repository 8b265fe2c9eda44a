"""A tuned study as a user runs it: killed, continued, and with a test set that is garbage."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typed import typed

from qbench.commands import chosen_plan
from qbench.growth import Growth
from qbench.store import TrialFolder
from qbench.study.plan import Plan

pytestmark = pytest.mark.long
COMMAND = [sys.executable, "-m", "qbench.run", "tuned.yaml"]

STUDY = """
study: tuned
question: Does a search find its way?
plugins: [toy.py]
quantizers: [ste, daq]
models: [{name: mlp, options: {width: 16}}]
data:
  sets: [{name: toy, options: {classes: 4, channels: 1, train: 192, test: 64, noise: 0.6}}]
  validation: 64
bits: [W2A32]
seeds: [0]
training: {epochs: 4, batch: 32, reestimation_batches: 0}
diagnostics: none
tuning: {trials: 4, rounds: 2, scheduler: asha, reduction: 2}
tracking: {enabled: false}
report: {formats: [csv]}
"""
DATA = """
from dataclasses import replace
from qbench.datasets.synthetic import Synthetic
from qbench.registry import datasets

@datasets.register("toy")
class Toy(Synthetic):
    def __init__(self, *, classes: int = 4, channels: int = 1, train: int = 8, test: int = 8,
                 noise: float = 0.2):
        super().__init__(classes=classes, channels=channels, train=train, test=test, noise=noise)

    def read(self, root):
        content = super().read(root)
        return replace(content, test_labels=(content.test_labels + SHIFT) % 4)
"""


def write_study(folder: Path, shift: int = 0) -> None:
    (folder / "tuned.yaml").write_text(STUDY)
    (folder / "toy.py").write_text(DATA.replace("SHIFT", str(shift)))


def run(folder: Path, *arguments: str, shift: int = 0) -> str:
    write_study(folder, shift)
    done = typed(folder, "run", "tuned.yaml", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def plan_of(folder: Path) -> Plan:
    return Growth(chosen_plan(folder / "tuned.yaml", ()), folder / "results").plan


def choices(folder: Path) -> list[tuple[str, int, dict[str, Any], float]]:
    """What each search chose, with its score."""
    plan = plan_of(folder)
    assert not plan.open
    return [(one.attempt.label, one.attempt.round, dict(one.attempt.settings), one.score)
            for one in plan.choices]  # fmt: skip


def accuracies(folder: Path) -> dict[str, float]:
    """Test accuracy of each trial that has one, by name."""
    found = {}
    for name in plan_of(folder).trials():
        for row in TrialFolder(folder / "results", name).read_table("history.parquet").to_pylist():
            if row["name"] == "test/accuracy":
                found[name] = row["value"]
    return found


@pytest.fixture(autouse=True)
def each_with_own_registries(own_registries: None) -> None:
    """Studies run in this process, each with a plug-in of the same name."""


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as a process of its own runs it."""
    folder = tmp_path_factory.mktemp("left-alone")
    write_study(folder)
    done = subprocess.run([*COMMAND, "--local"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_study_searches_chooses_and_runs_what_it_chose(left_alone: Path) -> None:
    plan = plan_of(left_alone)
    assert len(choices(left_alone)) == 2 * 2, "two rows in two rounds"
    statuses = {TrialFolder(left_alone / "results", name).status() for name in plan.trials()}
    assert statuses == {"done"}
    finals = {cell.trial.name for cell in plan.cells}
    assert set(accuracies(left_alone)) == finals, "a search reads no test set"
    assert "0 to run" in run(left_alone, "--local")


@pytest.mark.fault
@pytest.mark.slow  # two runs; a killed study in tests/test_run_command.py
def test_a_killed_search_continues_to_the_same_choice(left_alone: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the search."""
    write_study(tmp_path)
    running = subprocess.Popen(
        [*COMMAND, "--local", "resources.checkpoint_seconds=0.001"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    results, deadline = tmp_path / "results", time.monotonic() + 150
    while time.monotonic() < deadline and running.poll() is None:
        if len(list(results.glob("*/done"))) >= 5:
            break
        time.sleep(0.01)
    assert running.poll() is None, "it ended before it was killed"
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert plan_of(tmp_path).open, "the search was under way"
    run(tmp_path, "--local")
    assert choices(tmp_path) == choices(left_alone)
    assert accuracies(tmp_path) == accuracies(left_alone)


def test_garbage_for_test_labels_changes_no_choice(left_alone: Path, tmp_path: Path) -> None:
    run(tmp_path, "--local", shift=1)
    assert choices(tmp_path) == choices(left_alone)
    garbage, truth = accuracies(tmp_path), accuracies(left_alone)
    assert garbage.keys() == truth.keys()
    assert max(garbage.values()) < min(truth.values()), "the garbage was read in the end"


def test_the_plan_says_what_a_search_costs(tmp_path: Path) -> None:
    facts = json.loads(run(tmp_path, "--plan", "--json"))
    assert facts["tuning"] == {
        "rows": 2, "searches": 4, "chosen": 0, "rounds": 2, "trials": 4, "searcher": "random",
        "scheduler": "asha",
    }  # fmt: skip
    assert facts["open"] == 4
    assert facts["epochs_to_train"] == 4 * 4 * 1 + 2 * 4 + 4 * 4, "first rungs, untuned, final"


def test_a_tuned_study_is_not_cut_into_shards(tmp_path: Path) -> None:
    write_study(tmp_path)
    done = typed(tmp_path, "run", "tuned.yaml", "--shard", "1/2")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --shard splits no study that is tuned")
