"""The result store: one folder a trial, files that are the truth, ``done`` written last.

    RESULTS/<trial name>/
      trial.json            the trial, its id, protocol and the fingerprint of its method's code
      history.parquet       epoch, name, value
      layers.parquet        epoch, layer, name, value
      points.parquet        epoch, layer, name, x, y: scatters and curves of diagnostics
      deployed.safetensors  integer codes, codebooks and what stayed in float
      audit.json            distinct values of each tensor, what stayed float, is it k-bit, costs
      seconds.parquet       epoch, phase, seconds, ended (Unix time)
      environment.json      versions, commit, machine, device, peak memory
      checkpoint.pt         the state to continue from
      failed.json           reason and message, in place of ``done``
      done                  size and digest of each file above; without it nothing is trusted

The first four are bit-identical however often a trial was cut off and wherever it ran on one kind
of device; ``seconds`` and ``environment`` are not.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from filelock import FileLock

from qbench.remote_path import StorageError
from qbench.storage import remote, snapshot
from qbench.study.trial import PROTOCOL, Trial

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "DECIDING", "Failure", "LayerRow", "PhaseRow", "PointRow", "Row", "Status", "TrialFolder",
    "is_full",
    "table_bytes", "write_atomic",
]  # fmt: skip

Status = Literal["missing", "partial", "failed", "done"]
RESULT_FILES = (
    "trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors",
    "audit.json", "seconds.parquet", "environment.json",
)  # fmt: skip
DECIDING = ("done", "failed.json")
"""The files whose content decides a trial's status; of the others the sizes do."""
LOCK = ".lock"


class Row(NamedTuple):
    """One value of a trial's history; final values stand at the last epoch."""

    epoch: int
    name: str
    value: float


class LayerRow(NamedTuple):
    """One value of one layer."""

    epoch: int
    layer: str
    name: str
    value: float


class PointRow(NamedTuple):
    """One point of a scatter or a curve of one layer."""

    epoch: int
    layer: str
    name: str
    x: float
    y: float


class PhaseRow(NamedTuple):
    """Wall time of one phase of an epoch."""

    epoch: int
    phase: str
    seconds: float
    ended: float


@dataclass(frozen=True)
class Failure:
    """Why a trial has no result."""

    reason: Literal["diverged", "out of memory", "start failed", "timeout", "error"]
    message: str
    details: str = ""
    """The traceback, for whoever mends it."""


def is_full(error: BaseException) -> bool:
    """Whether a disk took no more or may only be read, or a store is away: no fault of a trial."""
    full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EROFS)
    return full or isinstance(error, StorageError)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one, or the new one whole."""
    if (far := remote(path)) is not None:
        far.write_bytes(data)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # of a full disk it would hold the last of the room
        raise


def table_bytes(rows: Sequence[NamedTuple], kind: type[NamedTuple]) -> bytes:
    """Rows as a Parquet file; equal rows give equal bytes."""
    import pyarrow as pa  # its import costs as much as all of a plan
    import pyarrow.parquet as pq

    types = {int: pa.int32(), float: pa.float64(), str: pa.string()}
    names = kind._fields
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    arrays = [
        pa.array(column, type=types[kind.__annotations__[name]])
        for name, column in zip(names, columns, strict=True)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, names=list(names)), buffer, compression="zstd")
    return buffer.getvalue()


class TrialFolder:
    """Reads and writes the files of one trial."""

    def __init__(self, results: Path, name: str) -> None:
        """Point at ``results/name``; nothing is created until something is written."""
        self.name = name
        self.path = results / name

    def status(self) -> Status:
        """What the files say.

        ``done`` counts only when every file has the size it records, ``failed.json`` when it can
        be read.
        """
        if (seen := self._listed()) is not None:
            return seen.status()
        if (self.path / "done").is_file():
            return "done" if not self.damaged(sizes_only=True) else "partial"
        if self.failure() is not None:
            return "failed"
        return "partial" if self.path.is_dir() else "missing"

    def _listed(self) -> "TrialFolder | None":
        """Of a remote store the folder as it is now, for many questions; once."""
        far = remote(self.path)
        if far is None or far.listed is not None:
            return None
        return TrialFolder(snapshot(self.path).parent, self.name)

    def cut_off_files(self) -> list[str]:
        """Of a trial that ended and counts as partial all the same: the files to blame."""
        if (self.path / "done").is_file():
            return self.damaged(sizes_only=True)
        unread = (self.path / "failed.json").is_file() and self.failure() is None
        return ["failed.json"] if unread else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process works on the trial, and keep others out meanwhile."""
        if remote(self.path) is not None:  # the study's claim keeps others out
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / LOCK):
            yield

    def damaged(
        self, *, sizes_only: bool = False, names: Sequence[str] = RESULT_FILES
    ) -> list[str]:
        """The files that are not as ``done`` recorded them; ``done`` itself if it is unreadable.

        Args:
            sizes_only: Compare sizes and read no file.
            names: The files to look at.
        """
        try:
            recorded = json.loads((self.path / "done").read_text())
            expected = {name: (entry["bytes"], entry["digest"]) for name, entry in recorded.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return ["done"]
        wrong = [name for name in names if name not in expected]
        for name in [name for name in names if name in expected]:
            size, digest = expected[name]
            try:
                same = (self.path / name).stat().st_size == size
                if same and not sizes_only:
                    same = _digest((self.path / name).read_bytes()) == digest
            except (FileNotFoundError, IsADirectoryError):
                same = False
            if not same:
                wrong.append(name)
        return wrong

    def write(self, name: str, data: bytes) -> None:
        """Write one file, atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / name, data)

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file with sorted keys, atomically."""
        self.write(name, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())

    def write_trial(self, trial: Trial, fingerprint: str) -> None:
        """Write ``trial.json``: the whole trial, defaults included."""
        whole = trial.model_dump(mode="json")
        head = {"id": trial.id, "name": trial.name, "protocol": PROTOCOL, "code": fingerprint}
        self.write_json("trial.json", head | {"trial": whole})

    def write_rows(self, name: str, rows: Sequence[NamedTuple], kind: type[NamedTuple]) -> None:
        """Write a Parquet file."""
        self.write(name, table_bytes(rows, kind))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file.

        Raises:
            OSError: It does not exist.
            ValueError: It is not JSON.
        """
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except RecursionError:
            value = None  # as deep as no file of a trial
        if not isinstance(value, dict):
            raise ValueError(f"{self.path / name} does not hold an object")
        return value

    def read_table(self, name: str) -> "pyarrow.Table":
        """Read a Parquet file.

        Raises:
            OSError: It does not exist.
            ValueError: It is not a whole Parquet file.
        """
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        data = io.BytesIO((self.path / name).read_bytes())
        try:
            # In this thread: a pool that still runs when the interpreter ends aborts the process.
            return pq.ParquetFile(data, pre_buffer=False).read(use_threads=False)
        except ArrowException as error:
            raise ValueError(f"{name} is not a whole table: {error}") from None

    def finish(self) -> None:
        """Record every file's size and digest in ``done``; the trial counts from here on."""
        files = {name: (self.path / name).read_bytes() for name in RESULT_FILES}
        recorded = {
            name: {"bytes": len(data), "digest": _digest(data)} for name, data in files.items()
        }
        (self.path / "failed.json").unlink(missing_ok=True)
        self.write_json("done", recorded)

    def fail(self, failure: Failure) -> None:
        """Record why there is no result."""
        self.write_json("failed.json", failure.__dict__)

    def failure(self) -> Failure | None:
        """Why there is no result, if that was recorded."""
        try:
            return Failure(**self.read_json("failed.json"))
        except (OSError, ValueError, TypeError):
            return None

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Delete the trial's files, ``done`` first, so that a cut-off leaves nothing trusted."""
        kept = set(keep)
        if not self.path.is_dir():
            return
        (self.path / "done").unlink(missing_ok=True)
        for file in self.path.iterdir():
            if file.is_file() and file.name not in kept | {LOCK}:
                file.unlink()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
