"""One run of a study at a time, where results lie in an object store and no file can be locked."""

import json
import os
import platform
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from filelock import FileLock

from qbench.errors import UsageError
from qbench.remote_path import RemotePath, StorageError

__all__ = ["claimed"]


@contextmanager
def claimed(file: RemotePath, study: str) -> Iterator[None]:
    """Hold a file that only one process can make, and delete it at the end.

    What a process of this machine left that is gone is taken over. Whether a process of another
    machine is gone cannot be known from here, so a person decides.

    Args:
        file: The file; it says who holds it.
        study: For the sentence.

    Raises:
        UsageError: Another process holds it.
    """
    own = {
        "host": platform.node(),
        "pid": os.getpid(),
        "process": _identity(os.getpid()),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "token": secrets.token_hex(8),  # tells two claims apart that are equal otherwise
    }
    name = blake2b(str(file).encode(), digest_size=8).hexdigest()
    with FileLock(Path(gettempdir()) / f"qbench-{name}.lock", mode=0o666):  # of two takeovers here
        _claim(file, study, own)
    try:
        yield
    finally:
        away = isinstance(sys.exception(), StorageError)  # then the claim stays, as after a kill
        if not away and _holder(file) == own:
            file.unlink(missing_ok=True)


def _claim(file: RemotePath, study: str, own: dict[str, Any]) -> None:
    data = json.dumps(own).encode()
    holder = _holder(file)  # asked first: some stores know no condition, and would overwrite
    if holder is not None and _is_gone(holder):
        file.unlink(missing_ok=True)
        holder = None
    try:
        if holder is None:
            file.create(data)
            return
    except FileExistsError:
        holder = _holder(file) or {}
    raise UsageError(
        f"the study '{study}' is being run in '{file.parent}' by process {holder.get('pid', '?')} "
        f"of {holder.get('host', 'another machine')} since {holder.get('since', 'a time unknown')};"
        f" wait for it, or run parts with --shard; if that process is dead, delete '{file}'"
    )


def _holder(file: RemotePath) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether it is sure that the process has ended: it was of this machine, and is not there."""
    place, pid = holder.get("process"), holder.get("pid")
    here = _identity(os.getpid())
    if not isinstance(place, list) or not isinstance(pid, int) or here is None:
        return False
    return place[:2] == here[:2] and place != _identity(pid)


def _identity(pid: int) -> list[str] | None:
    """The machine since it was started, the container's processes, and when the process started.

    Returns:
        Nothing where there is no such process, or the system does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = state == "Z"  # it is there only until its parent asks
        return None if ended else [boot, os.readlink("/proc/self/ns/pid"), facts[18]]
    except (OSError, IndexError):
        return None
