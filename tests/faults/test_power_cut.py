"""What a power-cut leaves: files cut off at any length, or with other bytes."""

import json
from pathlib import Path

import pytest
from fault_study import run, same_files, touched, trials

from qbench.store import RESULT_FILES, TrialFolder

pytestmark = pytest.mark.fault


def lengths(size: int) -> list[int]:
    return sorted({0, 1, size // 2, size - 1} - {size})


def lsq(folder: Path) -> Path:
    (found,) = [trial for trial in trials(folder) if "-lsq-" in trial.name]
    return found


@pytest.mark.parametrize("name", [*RESULT_FILES, "done"])
def test_a_file_that_is_cut_off_is_never_trusted(finished: Path, name: str) -> None:
    trial = lsq(finished)
    folder, file = TrialFolder(trial.parent, trial.name), trial / name
    whole = file.read_bytes()
    # Of `done` no size is recorded: without its last newline it is whole.
    for length in lengths(len(whole.rstrip() if name == "done" else whole)):
        file.write_bytes(whole[:length])
        assert folder.status() == "partial", length
        assert folder.cut_off_files() == [name], length
    file.write_bytes(whole)
    assert folder.status() == "done"


def test_what_was_cut_off_is_named_and_made_again_alone(finished: Path, left_alone: Path) -> None:
    trial = lsq(finished)
    for name in (*RESULT_FILES, "checkpoint.pt"):  # all of it was on its way to the disk
        file = trial / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    others = {name: time for name, time in touched(finished).items() if trial.name not in name}
    report = run(finished, command="report")
    assert "n/a" in report.output or "damaged" in report.output
    again = run(finished)
    assert again.exit_code == 0, again.output
    assert "1 to run, 2 done" in again.output
    assert f"{trial.name} is damaged and runs again" in again.output
    assert "deployed.safetensors" in again.output
    assert same_files(finished) == same_files(left_alone)
    assert {name: touched(finished)[name] for name in others} == others


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_off_is_not_continued(
    finished: Path, left_alone: Path, share: float
) -> None:
    trial = lsq(finished)
    (trial / "done").unlink()
    checkpoint = trial / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[: int(share * checkpoint.stat().st_size)])
    assert run(finished).exit_code == 0
    assert same_files(finished) == same_files(left_alone)


def test_a_checkpoint_with_other_bytes_is_not_continued(finished: Path, left_alone: Path) -> None:
    trial = lsq(finished)
    for file in trial.iterdir():
        if file.name != "checkpoint.pt":
            file.unlink()
    checkpoint = trial / "checkpoint.pt"
    data = bytearray(checkpoint.read_bytes())
    weights = TrialFolder(trial.parent, trial.name)
    data[flipped_place(bytes(data))] ^= 0x40  # a bit of an exponent: another weight
    checkpoint.write_bytes(data)
    assert weights.status() == "partial"
    assert run(finished).exit_code == 0
    assert same_files(finished) == same_files(left_alone)


def flipped_place(checkpoint: bytes) -> int:
    """A byte inside the largest tensor of a checkpoint: nothing but its checksum tells."""
    import io
    import zipfile

    archive = zipfile.ZipFile(io.BytesIO(checkpoint))
    tensors = [part for part in archive.infolist() if "/data/" in part.filename]
    largest = max(tensors, key=lambda part: part.file_size)
    name_bytes = len(largest.filename.encode())
    extra = int.from_bytes(
        checkpoint[largest.header_offset + 28 : largest.header_offset + 30], "little"
    )
    return largest.header_offset + 30 + name_bytes + extra + 3  # a zip entry's head has 30 bytes


@pytest.mark.parametrize("text", ["", "{", '{"reason": "diverged"}', "[1]", "null"])
def test_a_failure_that_cannot_be_read_is_named_and_run_again(finished: Path, text: str) -> None:
    trial = lsq(finished)
    (trial / "done").unlink()
    (trial / "failed.json").write_text(text)
    again = run(finished)
    assert again.exit_code == 0, again.output
    assert f"{trial.name} is damaged and runs again: not as it was when it ended: failed.json" in (
        again.output
    )
    assert TrialFolder(trial.parent, trial.name).status() == "done"
    assert not (trial / "failed.json").exists()


@pytest.mark.parametrize("name", ["history.parquet", "seconds.parquet", "audit.json"])
def test_other_bytes_of_the_same_size_are_named_and_counted_by_every_run(
    finished: Path, name: str, left_alone: Path
) -> None:
    trial = lsq(finished)
    data = bytearray((trial / name).read_bytes())
    data[len(data) // 2] ^= 1
    (trial / name).write_bytes(data)
    for _ in range(2):  # the second finds its report made
        again = run(finished, "--json")
        assert again.exit_code == 3, again.output
        told = json.loads(again.stdout.splitlines()[-1])
        assert told["done"] == 2
        assert list(told["failed"]) == [trial.name]
        assert f"{name} not as recorded" in told["failed"][trial.name]
        assert "delete its folder" in told["failed"][trial.name]
    for file in trial.iterdir():
        file.unlink()
    trial.rmdir()
    assert run(finished).exit_code == 0
    assert same_files(finished) == same_files(left_alone)


def test_nothing_starts_from_weights_with_other_bytes(finished: Path) -> None:
    (start,) = [trial for trial in trials(finished) if "-float-" in trial.name]
    dependent = lsq(finished)
    weights = start / "deployed.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 0x40
    weights.write_bytes(data)
    (dependent / "done").unlink()
    (dependent / "checkpoint.pt").unlink()
    again = run(finished)
    assert again.exit_code == 3
    failure = TrialFolder(dependent.parent, dependent.name).failure()
    assert failure is not None
    assert failure.reason == "start failed"
    assert "deployed.safetensors is not as recorded" in failure.message
