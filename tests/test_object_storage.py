"""Results in an object store: a real study, with faults, against moto's S3 server."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from click.testing import Result
from fsspec.registry import _registry
from moto.server import ThreadedMotoServer
from typed import typed

from qbench import remote_path
from qbench.claim import claimed
from qbench.errors import UsageError
from qbench.remote_path import RemotePath
from qbench.storage import results_folder, snapshot
from qbench.store import TrialFolder

pytestmark = pytest.mark.long

STUDY = """
study: small
question: Does a bucket hold a study?
quantizers: [float, ste, lsq]
models: [{name: mlp, options: {width: 16}}]
data: {sets: [digits], limit: 600, validation: 100}
bits: [W2A2]
seeds: [0]
start: float
training: {epochs: 3, batch: 50, optimizer: {learning_rate: 0.05}, reestimation_batches: 2}
tracking: {enabled: false}
report: {formats: [csv]}
"""
SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")
OFTEN = "resources.checkpoint_seconds=0.02"


class Server:
    """An S3 server that keeps its buckets while it is away."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self._running = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._running.start()
        self.port = self._running.get_host_and_port()[1]

    def stop(self) -> None:
        self._running.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.port}")
        patch.setenv("NO_PROXY", "127.0.0.1")
        _forget()
        remote_path._store("s3").mkdir("bucket")
        yield running
    running.stop()
    _forget()


def _forget() -> None:
    """Make the next call connect anew, to where the environment says."""
    remote_path._store.cache_clear()
    remote_path._answered.clear()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def folder(address: str) -> RemotePath:
    return cast(RemotePath, results_folder(address))


def call(module: str, *arguments: str) -> Result:
    return typed(Path(), module, *arguments)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study file in the current folder."""
    place = tmp_path_factory.mktemp("storage")
    (place / "small.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


@pytest.fixture(scope="module")
def done(server: Server, study: Path) -> RemotePath:
    """The results of the study, run in this process."""
    ended = call("run", "small.yaml", "--local", "--results", "s3://bucket/done")
    assert ended.exit_code == 0, ended.output
    assert "[3/3] done" in ended.output
    return folder("s3://bucket/done")


def contents(results: Path) -> dict[str, bytes]:
    seen = snapshot(results, SAME)
    trials = [place for place in seen.iterdir() if (place / "done").is_file()]
    return {f"{one.name}/{name}": (one / name).read_bytes() for one in trials for name in SAME}


def test_a_bucket_holds_what_a_folder_does(done: RemotePath, study: Path) -> None:
    local = call("run", "small.yaml", "--local", "--results", "here", "report.output=here/reports")
    assert local.exit_code == 0, local.output
    there = contents(cast(Path, done))
    assert len(there) == 3 * len(SAME)
    assert there == contents(Path("here"))
    for name in ("results.csv", "summary.csv"):
        assert Path(f"reports/small/{name}").exists()
    once = {file.uri for place in done.iterdir() for file in place.iterdir()}
    assert not [uri for uri in once if "partial" in uri or uri.endswith(".lock")]


def test_a_second_run_does_nothing(done: RemotePath) -> None:
    before = done.tree()
    again = call("run", "small.yaml", "--local", "--results", str(done))
    assert again.exit_code == 0
    assert "0 to run, 3 done" in again.output
    assert {k: v for k, v in done.tree().items() if k != done.uri} == {
        k: v for k, v in before.items() if k != done.uri
    }  # in the folder itself the claim came and went


def test_report_and_export_read_the_bucket(done: RemotePath, study: Path) -> None:
    reported = call("report", "small.yaml", "--results", str(done), "--output", "again")
    assert reported.exit_code == 0, reported.output
    assert "lsq" in Path("again/small/results.csv").read_text()
    name = next(place.name for place in done.iterdir() if "lsq" in place.name)
    for trial in (name[-12:], f"{done}/{name}"):
        exported = call(
            "export", trial, "--to", "safetensors", "--results", str(done), "--output", "network"
        )
        assert exported.exit_code == 0, exported.output
        assert "the same logits, bit for bit" in exported.output


def test_many_trials_are_listed_at_once(done: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan asks once for all trials, and for three small files of each."""
    asked: list[str] = []
    do = RemotePath._do
    monkeypatch.setattr(
        RemotePath, "_do", lambda self, what, call: (asked.append(what), do(self, what, call))[1]
    )
    assert call("run", "small.yaml", "--plan", "--results", str(done)).exit_code == 0
    assert asked.count("listed") <= 2  # where it stands, and what it takes
    assert (
        asked.count("read") <= 4 * 3 + 1
    )  # done and trial.json, done and seconds.parquet; the study's


def test_a_cut_off_file_is_made_again(done: RemotePath) -> None:
    whole = contents(cast(Path, done))
    place = next(place for place in done.iterdir() if "ste" in place.name)
    (place / "history.parquet").write_bytes(b"PAR1")
    planned = call("run", "small.yaml", "--plan", "--results", str(done))
    assert "1 to run, 2 done" in planned.output
    ended = call("run", "small.yaml", "--local", "--results", str(done))
    assert ended.exit_code == 0, ended.output
    assert contents(cast(Path, done)) == whole


@pytest.mark.fault
@pytest.mark.slow  # three whole commands
def test_a_killed_run_continues_as_one_left_alone(done: RemotePath, study: Path) -> None:
    arguments = ["small.yaml", "--local", "--results", "s3://bucket/killed"]
    running = subprocess.Popen(
        [sys.executable, "-m", "qbench.run", *arguments, OFTEN],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    killed, deadline = folder("s3://bucket/killed"), time.monotonic() + 150
    while time.monotonic() < deadline and running.poll() is None:
        files = [set(names) for names in killed.tree().values()]
        if any("done" in names for names in files) and any(
            "checkpoint.pt" in names and "done" not in names for names in files
        ):
            break  # one trial is done, another is under way
        time.sleep(0.05)  # the server runs in this process too
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert (killed / ".small.lock").is_file()
    again = call("run", *arguments)
    assert again.exit_code == 0, again.output
    assert ", 1 done" in again.output or ", 2 done" in again.output
    assert contents(cast(Path, killed)) == contents(cast(Path, done))
    assert not (killed / ".small.lock").is_file()


def test_a_trial_is_cleared_done_first(server: Server) -> None:
    trial = TrialFolder(cast(Path, folder("s3://bucket/cleared")), "trial")
    for name in ("audit.json", "done", "trial.json"):
        trial.write(name, b"{}")
    trial.clear(keep=["trial.json"])
    assert list(cast(RemotePath, trial.path).files()) == ["trial.json"]
    trial.clear()
    assert trial.status() == "missing"  # a bucket has no empty folders


def test_two_runs_at_once_are_one(done: RemotePath) -> None:
    with claimed(done / ".small.lock", "small"):
        second = call("run", "small.yaml", "--local", "--fresh", "--results", str(done))
    assert second.exit_code == 2
    assert f"is being run in '{done}' by process {os.getpid()} of" in second.stderr
    assert f"delete '{done}/.small.lock'" in second.stderr
    assert second.stderr.count("\n") == 1


def test_the_claim_of_another_machine_is_left_to_a_person(server: Server) -> None:
    file = folder("s3://bucket/claims") / ".small.lock"
    other = {"host": "far", "pid": 1, "process": ["another boot", "pid:[1]", "1"], "since": "then"}
    for data in (json.dumps(other).encode(), b"no JSON"):
        file.write_bytes(data)
        with pytest.raises(UsageError, match="delete 's3://bucket/claims/.small.lock'"):
            claimed(file, "small").__enter__()
        assert file.read_bytes() == data


def test_a_claim_of_this_machine_whose_process_is_gone_is_taken_over(server: Server) -> None:
    file = folder("s3://bucket/claims") / ".gone.lock"
    code = (
        "import os; from qbench.claim import *; from qbench.storage import *; "
        f"held = claimed(results_folder('{file}'), 'gone'); held.__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert file.is_file()
    with claimed(file, "gone"):
        assert json.loads(file.read_bytes())["pid"] == os.getpid()
    assert not file.is_file()


def test_of_several_claims_one_is_new(server: Server) -> None:
    file = folder("s3://bucket/claims") / "new"
    file.create(b"1")
    with pytest.raises(FileExistsError):
        file.create(b"2")
    assert file.read_bytes() == b"1"


def test_a_store_that_is_away_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder("s3://bucket/away/file")
    file.write_bytes(b"1")
    server.stop()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            server.start()

    monkeypatch.setattr(remote_path.time, "sleep", sleep)
    assert file.read_bytes() == b"1"
    assert waits == list(remote_path.PAUSES[:2])


@pytest.mark.fault
def test_a_store_that_stays_away_fails_no_trial(
    server: Server, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study stops with a sentence, nothing is recorded, and the same command continues."""
    arguments = ["run", "small.yaml", "--local", "--results", "s3://bucket/lost", OFTEN]
    monkeypatch.setattr(remote_path, "PAUSES", ())
    write = TrialFolder.write
    written: list[str] = []

    def writes_few(self: TrialFolder, name: str, data: bytes) -> None:
        written.append(name)
        if len(written) == 30:  # in the middle of the first trial
            server.stop()
        write(self, name, data)

    monkeypatch.setattr(TrialFolder, "write", writes_few)
    try:
        ended = call(*arguments)
    finally:
        server.start()
    assert ended.exit_code == 2
    assert "cannot be written" in ended.stderr
    assert "the same command continues" in ended.stderr
    assert ended.stderr.count("\n") == 1
    lost = folder("s3://bucket/lost")
    assert not [place for place in lost.iterdir() if (place / "failed.json").is_file()]
    monkeypatch.setattr(TrialFolder, "write", write)
    (lost / ".small.lock").unlink()  # the claim stayed, and its process lives: it runs the tests
    assert call(*arguments[:-1]).exit_code == 0


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://no-such-bucket/folder", "there is no bucket for 's3://no-such-bucket/folder"),
        ("s3://key:se/cret@bucket/folder", "s3://*** hold credentials"),
        ("s3://bucket/folder?secret=cret", "s3://*** hold credentials"),
        ("s3://", "name no bucket"),
        ("s4://bucket/folder", "did you mean 's3://'?"),
    ],
)
@pytest.mark.parametrize("command", [["run", "--local"], ["run", "--plan"], ["report"]])
def test_a_wrong_address_is_one_sentence(
    server: Server, study: Path, address: str, said: str, command: list[str]
) -> None:
    ended = call(*command, "small.yaml", "--results", address)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert "cret" not in ended.stderr.replace("hold credentials or options", "").replace(
        "give credentials", ""
    )
    assert ended.stderr.count("\n") == 1
    assert "to run" not in ended.stdout


def test_a_store_that_never_answered_is_not_waited_for(
    server: Server, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: closed
    monkeypatch.setattr(remote_path.time, "sleep", pytest.fail)
    _forget()
    ended = call("run", "small.yaml", "--local", "--results", "s3://bucket/folder")
    monkeypatch.undo()
    _forget()
    assert ended.exit_code == 2
    assert "Could not connect to the endpoint URL" in ended.stderr


def test_credentials_are_asked_for(
    server: Server, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(study / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(study / "none"))
    _forget()
    ended = call("run", "small.yaml", "--plan", "--results", "s3://bucket/folder")
    monkeypatch.undo()
    _forget()
    assert ended.exit_code == 2
    assert "give them in the environment" in ended.stderr


def test_a_missing_library_is_one_sentence(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    ended = call("run", "small.yaml", "--plan", "--results", "s3://bucket/folder")
    assert ended.exit_code == 2
    assert "pip install 'qbench-harness[storage]'" in ended.stderr


def test_local_results_import_no_store() -> None:
    code = "import sys, qbench.run; from qbench.storage import *; results_folder('results')"
    code += "; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fsspec", "s3fs", "botocore", "aiohttp"} & set(ended.stdout.split())


def test_tracking_needs_a_store_of_its_own(done: RemotePath) -> None:
    ended = call("track", "small.yaml", "--results", str(done), "tracking.enabled=true")
    assert ended.exit_code == 2
    assert "set tracking.uri to" in ended.stderr


@pytest.mark.slow  # a fresh SQLite store takes MLflow ten seconds
def test_track_reads_the_bucket(done: RemotePath, tmp_path: Path) -> None:
    uri = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        ended = call("track", "small.yaml", "--results", str(done), "tracking.enabled=true", uri)
        assert ended.exit_code == 0, ended.output
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        runs = store.execute("select status from runs").fetchall()
        points = store.execute("select count(*) from metrics group by run_uuid, key, step")
        assert runs == [("FINISHED",)] * 4  # the study, and three trials
        assert {count for (count,) in points} == {1}
    logged = {path.name for path in (tmp_path / "mlflow-artifacts").rglob("*") if path.is_file()}
    assert {"trial.json", "deployed.safetensors"} <= logged


@pytest.mark.slow  # starts Ray
def test_workers_of_ray_write_to_the_bucket(done: RemotePath, study: Path) -> None:
    arguments = ["small.yaml", "--results", "s3://bucket/ray"]
    ended = subprocess.run(
        [sys.executable, "-m", "qbench.run", *arguments], capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "[3/3] done" in ended.stdout
    ray = folder("s3://bucket/ray")
    assert contents(cast(Path, ray)) == contents(cast(Path, done))
    assert not [place for place in ray.iterdir() if place.name == ".ray"]


@pytest.mark.slow  # starts Ray
def test_a_bucket_that_goes_away_stops_the_workers_of_ray(server: Server, study: Path) -> None:
    store = remote_path._store("s3")
    store.mkdir("passing")
    running = subprocess.Popen(
        [sys.executable, "-m", "qbench.run", "small.yaml", "--results", "s3://passing/ray", OFTEN,
         "training.epochs=2000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    results, deadline = folder("s3://passing/ray"), time.monotonic() + 150
    while time.monotonic() < deadline and running.poll() is None:
        if any("checkpoint.pt" in names for names in results.tree().values()):
            break
        time.sleep(0.1)
    while running.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):  # files come while it is deleted
            store.rm("passing", recursive=True)
            break
    _, said = running.communicate(timeout=60)
    assert running.returncode == 2, said
    assert said.startswith("error: there is no bucket for 's3://passing/ray")
    assert said.count("\n") == 1
