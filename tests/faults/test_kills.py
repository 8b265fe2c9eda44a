"""SIGKILL of a worker and of Ray's head, a second Ctrl-C: nothing that was finished is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fault_study import same_files, touched, trials, write_study

pytestmark = [
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(600),  # of a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "qbench.run", "small.yaml", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,  # a group of its own, as a terminal gives to a command
    )  # fmt: skip


def told(running: subprocess.Popen[str]) -> str:
    """What a run says until it ends; of one that hangs, where it does."""
    try:
        return running.communicate(timeout=150)[0]
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGABRT)
        output = running.communicate()[0]
        pytest.fail(f"it hangs: {output}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def finish(folder: Path, *arguments: str) -> str:
    done = start(folder, *arguments)
    output = told(done)
    assert done.returncode == 0, output
    return output


def wait_for(condition: Callable[[], object], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert running.poll() is None, told(running)
        if time.monotonic() > deadline:
            pytest.fail(f"it does not come so far: {told(running)}")
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [d for child in map(int, children) for d in (child, *descendants(child))]


def named(pids: list[int], words: str) -> list[int]:
    """Those of the processes whose command line holds the words."""
    found = []
    for pid in pids:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in line:
            found.append(pid)
    return found


def under_way(folder: Path) -> bool:
    """Whether one trial is done, and another has a checkpoint to continue from."""
    checkpoints = (folder / "results").glob("*/checkpoint.pt")
    return bool(trials(folder)) and any(not (p.parent / "done").exists() for p in checkpoints)


LONG = (
    "training.epochs=100",
    "resources.checkpoint_seconds=0.02",
    "seeds=[0,1]",
)  # longer than it takes to notice


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the longer study's files are when nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    write_study(folder)
    finish(folder, *LONG, "--local")
    return same_files(folder)


def begun(folder: Path) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """The longer study, under way, and what it had finished then."""
    write_study(folder)
    running = start(folder, *LONG)
    wait_for(lambda: under_way(folder), running)
    return running, touched(folder)


def test_a_killed_worker_costs_its_trial_a_moment_and_no_other(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    running, before = begun(tmp_path)
    titles = ("ray::Worker", "ray::ResourceTrainable")  # Ray names a worker after what it runs
    workers = [pid for title in titles for pid in named(descendants(running.pid), title)]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    output = told(running)
    assert running.returncode == 0, output
    assert same_files(tmp_path) == whole
    assert {name: touched(tmp_path)[name] for name in before} == before


@pytest.mark.parametrize("head", ["gcs_server", "raylet"])
def test_a_killed_ray_ends_the_run_and_the_same_command_completes_it(
    tmp_path: Path, whole: dict[str, str], head: str
) -> None:
    running, before = begun(tmp_path)
    processes = descendants(running.pid)
    (server,) = named(processes, f"/{head} ") or named(processes, head)[:1]
    os.kill(server, signal.SIGKILL)
    output = told(running)
    assert running.returncode == 2, output
    (sentence,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Ray" in sentence
    assert "Traceback" not in output
    again = finish(tmp_path, *LONG, "--local")
    assert "done" in again
    assert same_files(tmp_path) == whole
    assert {name: touched(tmp_path)[name] for name in before} == before


def test_a_second_ctrl_c_ends_at_once_and_damages_nothing(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    running, before = begun(tmp_path)
    left = descendants(running.pid)
    for _ in range(2):
        os.killpg(running.pid, signal.SIGINT)
        time.sleep(0.05)
    output = told(running)
    assert running.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
    shutil.rmtree(tmp_path / "reports", ignore_errors=True)
    finish(tmp_path, *LONG, "--local")
    assert same_files(tmp_path) == whole
    assert {name: touched(tmp_path)[name] for name in before} == before


def test_a_second_ctrl_c_of_a_local_run_ends_at_once(tmp_path: Path, left_alone: Path) -> None:
    write_study(tmp_path)
    running = start(tmp_path, "--local", "resources.checkpoint_seconds=0.001")
    wait_for(lambda: list((tmp_path / "results").glob("*/checkpoint.pt")), running)
    for _ in range(2):
        running.send_signal(signal.SIGINT)
    output = told(running)
    assert running.returncode == 130, output
    assert "Traceback" not in output
    from fault_study import run

    again = run(tmp_path)
    assert again.exit_code == 0, again.output
    assert same_files(tmp_path) == same_files(left_alone)
