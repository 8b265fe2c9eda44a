"""One run of a study at a time in a folder of results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qbench.claim import claimed
from qbench.errors import UsageError
from qbench.storage import check_writable, remote

__all__ = ["only_run"]


@contextmanager
def only_run(results: Path, lock: Path, study: str) -> Iterator[None]:
    """Hold a study's lock in a result store that can be written.

    Args:
        results: The result store; made if it is a folder that is not there.
        lock: The study's own file in it.
        study: For the sentence.

    Raises:
        UsageError: The store cannot be written, or another process runs the study in it.
    """
    if (file := remote(lock)) is not None:
        with claimed(file, study):
            yield
        return
    check_writable(results, "--results")
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"the study '{study}' is being run by another process in '{results}'; wait for it, or "
            "run parts of it with --shard"
        ) from None
    with held:
        yield
