"""Where results lie: a local folder, or a folder of an object store such as ``s3://bucket/folder``."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

from qbench.errors import UsageError, unknown
from qbench.remote_path import THREADS, RemotePath

__all__ = [
    "check_writable", "in_parallel", "local_copy", "remembering", "remote", "results_folder",
    "snapshot", "version_of",
]  # fmt: skip

Item = TypeVar("Item")
Found = TypeVar("Found")


def results_folder(text: str) -> Path:
    """A results folder as a user names it.

    Returns:
        A local path, or a :class:`RemotePath`, which has those methods that results need.

    Raises:
        UsageError: It is the address of no store that can be used, or holds credentials.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        return Path(text)
    if scheme == "file":
        return Path(rest)
    user, at, _ = rest.rpartition("@")
    if (at and ":" in user) or "?" in rest:
        raise UsageError(
            f"the results {scheme}://*** hold credentials or options; write {scheme}://bucket/folder"
            ", and give credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )
    if not rest.strip("/"):
        raise UsageError(f"the results '{text}' name no bucket; write {scheme}://bucket/folder")
    _check_library(scheme)
    return cast(Path, RemotePath(f"{scheme}://{rest.strip('/')}"))


def check_writable(folder: Path, option: str) -> None:
    """See to it that a folder takes files, before anything is done that is to be kept there.

    Args:
        folder: Made if it is not there.
        option: What names another folder.

    Raises:
        UsageError: It does not.
    """
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(2**16))  # a full disk still takes an empty file
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder '{folder}' cannot be written ({error.strerror}); name another one with "
            f"{option}"
        ) from None


def _check_library(scheme: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise UsageError(unknown("store", f"{scheme}://", ["s3://", "gs://", "abfs://"])) from None
    except ImportError as error:
        remedy = "pip install 'qbench-harness[storage]'" if scheme == "s3" else str(error)
        raise UsageError(
            f"results at {scheme}:// need a library that is not installed: {remedy}"
        ) from None


def remote(path: Path) -> RemotePath | None:
    """The path, if it is one of an object store."""
    found: object = path
    return found if isinstance(found, RemotePath) else None


def snapshot(results: Path, read: Sequence[str] = (), names: Iterable[str] | None = None) -> Path:
    """Results for a look at many trials: a local folder as it is, a remote one as it is now.

    Of a remote one all files are listed at once, and asking for single files costs nothing more.

    Args:
        results: The result store.
        read: Files of trials that will be read; they are fetched together.
        names: The trials to fetch these of; by default all.
    """
    far = remote(results)
    if far is None:
        return results
    seen = replace(far, listed=far.tree(), cache={})
    folders = seen.listed or {} if names is None else [(far / name).uri for name in names]
    wanted = [replace(seen, uri=folder) / file for folder in folders for file in read]
    in_parallel(results, _fetch, [file for file in wanted if file.is_file()])
    return cast(Path, seen)


def _fetch(file: RemotePath) -> None:
    with suppress(FileNotFoundError):  # it was deleted meanwhile
        file.read_bytes()


def remembering(results: Path) -> Path:
    """Results that keep what is read from far away, for a short look at one trial."""
    far = remote(results)
    return results if far is None else cast(Path, replace(far, cache={}))


def in_parallel(
    results: Path, function: Callable[[Item], Found], items: Iterable[Item]
) -> list[Found]:
    """``function`` of each item, in threads where results are far away and each waits."""
    if remote(results) is None:
        return [function(item) for item in items]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="reading") as threads:
        return list(threads.map(function, items))


def version_of(path: Path) -> object:
    """Something that changes when the file does.

    Raises:
        FileNotFoundError: There is none.
    """
    if (far := remote(path)) is not None:
        return far.stat()
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file itself, or a copy of the same name on this machine for as long as it is needed.

    Raises:
        FileNotFoundError: There is none.
    """
    if remote(path) is None:
        yield path
        return
    data = path.read_bytes()
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data)
        yield copy
