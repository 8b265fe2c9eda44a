"""Files of an object store, such as ``s3://bucket/folder``, with the methods of ``pathlib.Path``.

Object stores are reached through fsspec. Its own paths (universal-pathlib) do not fit: they make
buckets that are not there, list from memory while other machines write, ask once for every file,
and raise each library's own errors, which would be taken for damaged files.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from qbench.errors import UsageError

__all__ = ["THREADS", "RemotePath", "Stat", "StorageError"]

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between attempts at a store that answered before; another one is not waited for."""
THREADS = 32
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "retries": {"total_max_attempts": 1},  # s3fs itself tries too
            "max_pool_connections": THREADS,
        },
        "max_concurrency": 1,  # of the parts of a large file; with more s3fs asks for every size
    },
}
_answered: set[str] = set()


class StorageError(UsageError):
    """An object store is away, or refuses; no fault of a trial, and no damage."""


class Stat(NamedTuple):
    """What a store tells of a file."""

    st_size: int
    version: str
    """Changes with the file's content."""


Tree = Mapping[str, Mapping[str, Stat]]
"""Files by the address of their folder, and by name."""


@dataclass(frozen=True)
class RemotePath:
    """A file or a folder; a folder is there as long as a file is in it.

    A file appears whole or not at all. What goes wrong, but for a file that is not there or there
    already, is tried again for a minute where that can help, and is then a :class:`StorageError`.
    """

    uri: str
    listed: Tree | None = field(default=None, compare=False, repr=False)
    """Answers what is there, in place of the store."""
    cache: dict[str, bytes] | None = field(default=None, compare=False, repr=False)
    """Keeps what is read, by address."""

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "RemotePath":
        return replace(self, uri=f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        return replace(self, uri=self.uri.rpartition("/")[0])

    def resolve(self) -> "RemotePath":
        """The path itself, which is absolute."""
        return self

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        """Nothing: folders are parts of names."""

    def read_bytes(self) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: There is none.
        """
        if self.cache is not None and self.uri in self.cache:
            return self.cache[self.uri]
        data = bytes(self._do("read", lambda store, key: store.cat_file(key)))
        if self.cache is not None:
            self.cache[self.uri] = data
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """The file's content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        """Write the file; whoever reads meanwhile sees the old one."""
        with self._bucket_wanted():
            self._do("written", lambda store, key: store.pipe_file(key, data))

    def create(self, data: bytes) -> None:
        """Write a file that must be new; of several processes that try, one succeeds.

        Raises:
            FileExistsError: It is there.
        """
        with self._bucket_wanted():
            self._do("written", lambda store, key: store.pipe_file(key, data, mode="create"))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file; most stores do not tell whether there was one."""
        try:
            self._do("deleted", lambda store, key: store.rm_file(key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def stat(self) -> Stat:
        """Size and version of the file.

        Raises:
            FileNotFoundError: There is none.
        """
        if self.listed is None:
            return _stat(self._do("read", lambda store, key: store.info(key)))
        try:
            return self.listed[self.parent.uri][self.name]
        except KeyError:
            raise FileNotFoundError(self.uri) from None

    def is_file(self) -> bool:
        """Whether the file is there."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def files(self) -> Mapping[str, Stat]:
        """The files in this folder by name, without those in folders of it."""
        if self.listed is not None:
            return self.listed.get(self.uri, {})
        try:
            found = self._do("listed", lambda store, key: store.ls(key, detail=True))
        except FileNotFoundError:
            return {}
        parts = (one["name"].rpartition("/")[2] for one in found)
        return {
            name: _stat(one)
            for name, one in zip(parts, found, strict=True)
            if one["type"] == "file"
        }

    def tree(self) -> Tree:
        """All files below this folder; a request for each 1,000.

        Raises:
            StorageError: The bucket is not there, or cannot be listed.
        """
        if self.listed is not None:
            return self.listed
        with self._bucket_wanted():
            try:
                found = self._do("listed", lambda store, key: store.find(key, detail=True))
            except FileNotFoundError:  # of a folder, or of the bucket?
                self._do("listed", lambda store, key: store.ls(key.split("/")[0]))
                found = {}
        folders: dict[str, dict[str, Stat]] = {}
        start = len(_key(self)) + 1
        for key, facts in found.items():
            folder, _, name = f"{self.uri}/{key[start:]}".rpartition("/")
            folders.setdefault(folder, {})[name] = _stat(facts)
            while folder != self.uri:
                folder = folder.rpartition("/")[0]
                folders.setdefault(folder, {})
        return folders

    def is_dir(self) -> bool:
        """Whether there is a file in this folder, or in one of it."""
        return self.uri in self.tree()

    def iterdir(self) -> Iterator["RemotePath"]:
        """The files and folders in this folder, once each."""
        tree, start = self.tree(), f"{self.uri}/"
        folders = (f"{one[len(start) :]}/".split("/")[0] for one in tree if one.startswith(start))
        yield from (self / name for name in dict.fromkeys([*tree.get(self.uri, ()), *folders]))

    @contextmanager
    def _bucket_wanted(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StorageError(
                f"there is no bucket for '{self}'; make it, or name another one with --results"
            ) from None

    def _do(self, what: str, call: Callable[[Any, str], Any]) -> Any:
        scheme = self.uri.partition("://")[0]
        pauses = list(PAUSES) if scheme in _answered else []
        while True:
            try:
                done = call(_store(scheme), _key(self))
            except (FileNotFoundError, FileExistsError):
                _answered.add(scheme)
                raise
            except Exception as error:  # each library has errors of its own
                if not pauses or not _may_pass(error):
                    raise StorageError(f"'{self}' cannot be {what}: {_reason(error)}") from None
                time.sleep(pauses.pop(0))
            else:
                _answered.add(scheme)
                return done


@lru_cache
def _store(scheme: str) -> Any:
    import fsspec  # its import takes longer than a plan of local results

    # other machines write too: what was listed once is no news
    store = fsspec.filesystem(scheme, use_listings_cache=False, **OPTIONS.get(scheme, {}))
    store.retries = 2  # of s3fs; five of its own for each of ours would take many minutes
    return store


def _key(path: RemotePath) -> str:
    return str(_store(path.uri.partition("://")[0])._strip_protocol(path.uri))


def _stat(facts: dict[str, Any]) -> Stat:
    """Whatever a store tells of a file changes with it: a time, a tag, a generation."""
    return Stat(int(facts["size"]), str(sorted(facts.items(), key=str)))


def _may_pass(error: Exception) -> bool:
    """Whether waiting can help."""
    # refused, malformed, or nothing that the store's library offers
    lasting = isinstance(error, PermissionError | ValueError | NotImplementedError)
    return not lasting and "Credentials" not in type(error).__name__


def _reason(error: Exception) -> str:
    """An error in a sentence, with what to do; addresses in it lose their passwords."""
    text = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    text = re.sub(r"://[^/@\s]*@", "://***@", text)
    if "Credentials" in type(error).__name__:
        return f"{text}; give them in the environment, such as AWS_ACCESS_KEY_ID"
    if isinstance(error, PermissionError):
        return f"{text}; the credentials in the environment must allow it"
    return (
        f"{text}; let the store answer, at the address that AWS_ENDPOINT_URL or the like gives, "
        "and the same command continues"
    )
