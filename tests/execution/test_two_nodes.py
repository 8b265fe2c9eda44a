"""A study on two nodes of a real Ray cluster, one of which is killed."""

import io
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_nodes import cluster, kill

STUDY = """
study: two
question: Does a study outlive a node?
quantizers: [ste, dorefa]
models: [{name: mlp, options: {width: 32}}]
data:
  sets: [{name: synthetic, options: {classes: 4, channels: 1, train: 256, test: 64}}]
bits: [W4A32, W2A2]
seeds: [0, 1, 2]
training: {epochs: 60, batch: 16, reestimation_batches: 2}
resources: {checkpoint_seconds: 0.2}
"""
TRIALS, EPOCHS = 12, 60


def facts(results: Path) -> dict[str, dict[str, object]]:
    """By trial that is done: what it ran on."""
    return {
        done.parent.name: json.loads((done.parent / "environment.json").read_text())
        for done in results.glob("*/done")
    }


def trained(trial: Path) -> dict[int, float]:
    """By epoch: when its training ended."""
    content = io.BytesIO((trial / "seconds.parquet").read_bytes())  # at once: it is replaced
    rows = pq.read_table(content).to_pylist()
    return {row["epoch"]: row["ended"] for row in rows if row["phase"] == "train"}


def under_way(results: Path) -> list[str]:
    """Trials that have a checkpoint, and still half of their epochs before them."""
    found = [path.parent for path in results.glob("*/seconds.parquet")]
    return [trial.name for trial in found if 0 < len(trained(trial)) < EPOCHS / 2]


def wait_until_both_nodes_work(results: Path, study: subprocess.Popen[str]) -> None:
    while study.poll() is None:
        nodes = {fact["node"] for fact in facts(results).values()}
        if len(nodes) == 2 and len(under_way(results)) == 2:
            return
        time.sleep(0.05)
    raise AssertionError(f"it ended: {study.communicate()}")


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)  # Ray takes half a minute to believe that a node is gone
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_study_outlives_a_node(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "qbench.run", "two.yaml", "--address"]
    with cluster(tmp_path) as nodes:
        nodes.start()
        second = nodes.start()
        study = subprocess.Popen(
            [*command, nodes.address], cwd=tmp_path, env=nodes.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        results = tmp_path / "results"
        wait_until_both_nodes_work(results, study)
        before, lost = facts(results), under_way(results)
        kill(second)
        killed = time.time()
        output, _ = study.communicate(timeout=500)
    assert study.returncode == 0, output
    assert "Traceback" not in output
    after = facts(results)
    assert len(after) == TRIALS
    (survivor,) = {fact["node"] for name, fact in after.items() if name not in before}
    assert {fact["node"] for fact in before.values()} > {survivor}, "both had worked"
    for name in lost:  # one of them on the node that was killed
        check_continued(results / name, killed)
    check_tracked_once(results)


def check_continued(trial: Path, killed: float) -> None:
    ended = trained(trial)
    assert set(ended) == set(range(1, EPOCHS + 1))
    assert ended[1] < killed < ended[EPOCHS], "what was trained before is kept"


def check_tracked_once(results: Path) -> None:
    with sqlite3.connect(results / "mlflow.db") as store:
        runs = store.execute("select status, count(*) from runs group by status").fetchall()
        points = store.execute(
            "select count(*) from metrics group by run_uuid, key, step"
        ).fetchall()
    assert runs == [("FINISHED", TRIALS + 1)]
    assert set(points) == {(1,)}
