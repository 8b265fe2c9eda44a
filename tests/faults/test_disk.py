"""A results folder that is full, that may only be read, or that was moved."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_study import run, same_files, touched, trials, write_study

pytestmark = pytest.mark.fault

Mount = Callable[[Path, str], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Makes, and makes again with other options, a small file system of memory."""
    mounted: dict[Path, None] = {}

    def make(place: Path, options: str) -> None:
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True
        )
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        mounted[place] = None

    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("needs Linux's mount")
    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes of room."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(free - leave))
    return ballast


def test_a_disk_that_runs_full_stops_the_study_and_room_continues_it(
    tmp_path: Path, mount: Mount, left_alone: Path
) -> None:
    write_study(tmp_path)
    results = tmp_path / "results"
    mount(results, "size=8m")
    ballast = fill(results, 2**17)  # 128 KiB: room for a trial's first files
    full = run(tmp_path)
    assert full.exit_code == 2, full.output
    (sentence,) = [line for line in full.output.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in sentence
    assert "make room" in sentence
    assert not list(results.glob("*/failed.json")), "a full disk is no fault of a trial"
    assert not list(results.glob("*/.*.partial")), "what could not be written takes no room"
    before = touched(tmp_path)
    ballast.unlink()
    again = run(tmp_path)
    assert again.exit_code == 0, again.output
    assert same_files(tmp_path) == same_files(left_alone)
    assert {name: touched(tmp_path)[name] for name in before} == before


@pytest.mark.slow
def test_a_disk_that_runs_full_under_ray_is_no_trials_fault(tmp_path: Path, mount: Mount) -> None:
    write_study(tmp_path)
    results = tmp_path / "results"
    mount(results, "size=8m")
    ballast = fill(results, 120 * 2**10)  # room for one trial of three, beside Ray's own files
    command = [sys.executable, "-m", "qbench.run", "small.yaml"]
    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert full.returncode == 2, full.stdout
    assert "takes no more files" in full.stderr
    assert not list(results.glob("*/failed.json"))
    ballast.unlink()
    again = run(tmp_path)
    assert again.exit_code == 0, again.output


def test_a_disk_without_any_room_is_one_sentence_at_once(tmp_path: Path, mount: Mount) -> None:
    write_study(tmp_path)
    mount(tmp_path / "results", "size=1m")
    fill(tmp_path / "results", 0)
    full = run(tmp_path)
    assert full.exit_code == 2
    assert "cannot be written (No space left on device); name another one with --results" in (
        full.output
    )
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"ballast"}


def test_a_folder_that_may_only_be_read_is_one_sentence_and_reports_all_the_same(
    finished: Path, mount: Mount
) -> None:
    results, copy = finished / "results", finished / "copy"
    results.rename(copy)
    mount(results, "size=8m")
    shutil.copytree(copy, results, dirs_exist_ok=True)
    mount(results, "remount,ro")
    before = touched(finished)
    refused = run(finished)
    assert refused.exit_code == 2
    assert "cannot be written (Read-only file system); name another one" in refused.output
    (finished / "reports" / "small" / "results.csv").unlink()
    report = run(finished, command="report")
    assert report.exit_code == 0, report.output
    assert (finished / "reports" / "small" / "results.csv").exists()
    assert touched(finished) == before


def test_a_folder_that_was_moved_is_the_same_study(finished: Path) -> None:
    before = touched(finished)
    (finished / "results").rename(finished / "elsewhere")
    moved = run(finished, "--results", "elsewhere")
    assert moved.exit_code == 0, moved.output
    assert "0 to run, 3 done" in moved.output
    (finished / "elsewhere").rename(finished / "results")
    assert touched(finished) == before
    assert len(trials(finished)) == 3
