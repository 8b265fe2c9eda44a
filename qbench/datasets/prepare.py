"""Decoded images on disk: written once by the driver, mapped into memory by every worker.

    CACHE/<name>-<hash of the options and of the data set's code>/
      train_images.npy train_labels.npy test_images.npy test_labels.npy
      meta.json        the set's facts; size and digest of each array

Workers open it without importing torchvision, and share its pages. Of a streamed set the image
arrays hold file names.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from qbench.datasets.contract import Array, Content, Dataset
from qbench.errors import UsageError
from qbench.registry import datasets
from qbench.study.fingerprint import code_fingerprint
from qbench.study.trial import TrialData

__all__ = ["Images", "open_images", "prepare"]

IMAGE_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
FORMAT = 1
"""Raised when the files of the cache change their meaning."""


@dataclass(frozen=True)
class Images:
    """A prepared data set, mapped into memory."""

    name: str
    digest: str
    """A hash of all images, labels and facts; of a streamed set, of its listing."""
    classes: int
    shape: tuple[int, int, int]
    """Channels, height, width of what a network gets."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: tuple[str, ...]
    streamed: bool
    source: str
    """Where the images came from; of a streamed set, the folder that the file names start in."""
    train_images: Array
    """uint8 ``[images, channels, height, width]``; of a streamed set, file names as bytes."""
    train_labels: Array
    """int64 ``[images]``."""
    test_images: Array
    test_labels: Array


def prepare(data: TrialData, root: Path, cache: Path) -> Path:
    """Verify and decode a data set, unless that was done before; safe from several processes.

    Args:
        data: The data set and its options.
        root: The folder in which its files lie.
        cache: The folder for prepared sets; made if need be.

    Returns:
        The folder to give to :func:`open_images`.

    Raises:
        UsageError: A file of the set is missing or wrong, or the cache cannot be written.
    """
    source: Dataset = datasets.load(data.name)(**data.options)
    folder = cache.absolute() / _key(data, source, root)
    try:
        content = source.read(root) if source.streamed else None  # a listing is quick
        if _usable(folder, content):
            return folder
        content = content or source.read(root)  # before a folder is made for a mistyped root
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _usable(folder, content):  # another process may have been first
                _write(folder, data.name, source, content)
    except OSError as error:
        raise UsageError(
            f"the data set '{data.name}' cannot be prepared in {cache.absolute()}: {error}; its "
            "files must be readable, and data.cache a folder that can be written and has room"
        ) from error
    return folder


def open_images(path: Path) -> Images:
    """Map a prepared data set into memory.

    Args:
        path: What :func:`prepare` returned.

    Raises:
        UsageError: A file is missing or has another size than recorded.
    """
    meta = _read_meta(path)
    wrong = _wrong_sizes(path, meta) if meta else ["meta.json"]
    if meta is None or wrong:
        raise UsageError(
            f"the prepared images in {path} are damaged ({', '.join(wrong)}); run the study again, "
            "which prepares them anew"
        )
    facts: dict[str, Any] = {key: value for key, value in meta.items() if key != "arrays"}
    for key in ("shape", "mean", "std", "augmentation"):
        facts[key] = tuple(facts[key])
    facts |= {name: _map(path, name) for name in IMAGE_ARRAYS}
    return Images(**facts)


def _key(data: TrialData, source: Dataset, root: Path) -> str:
    code = code_fingerprint((datasets.entry(data.name).source,))
    place = str(root.resolve()) if source.streamed else ""
    identity = [FORMAT, data.name, data.options, code, place]
    text = json.dumps(identity, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{data.name.replace('/', '_')}-{digest}"


def _usable(folder: Path, content: Content | None) -> bool:
    """Whether the folder holds what it says, and what was read, if anything was."""
    meta = _read_meta(folder)
    if meta is None or _wrong_sizes(folder, meta):
        return False
    try:
        found = {name: _digest(_map(folder, name)) for name in meta["arrays"]}
    except (OSError, ValueError):
        return False
    if found != {name: recorded["digest"] for name, recorded in meta["arrays"].items()}:
        return False
    return content is None or (content.source, _digests(content)) == (meta["source"], found)


def _write(folder: Path, name: str, source: Dataset, content: Content) -> None:
    """Write the whole folder beside its place, then move it there; the caller holds the lock."""
    _check(name, source, content)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    arrays = {}
    for key, digest in _digests(content).items():
        file = partial / f"{key}.npy"
        np.save(file, content.arrays()[key], allow_pickle=False)
        arrays[key] = {"bytes": file.stat().st_size, "digest": digest}
    meta = {
        "name": name,
        "classes": content.classes,
        "shape": source.shape,
        "mean": source.mean,
        "std": source.std,
        "augmentation": source.augmentation,
        "streamed": source.streamed,
        "source": content.source,
        "arrays": arrays,
    }
    meta["digest"] = _joint(meta)
    (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    _sync(partial)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)  # damaged, or of other files; who has it mapped keeps it
    partial.rename(folder)


def _check(name: str, source: Dataset, content: Content) -> None:
    for part in ("train", "test"):
        images, labels = getattr(content, f"{part}_images"), getattr(content, f"{part}_labels")
        decoded = source.streamed or (images.dtype == np.uint8 and images.shape[1:] == source.shape)
        if not decoded or labels.dtype != np.int64 or len(images) != len(labels):
            raise UsageError(
                f"the data set '{name}' gives {part} images {images.dtype} {images.shape} and "
                f"labels {labels.dtype} {labels.shape}; needed are uint8 (images, "
                f"{', '.join(map(str, source.shape))}) and int64 (images)"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= content.classes:
            raise UsageError(
                f"the data set '{name}' has {len(labels)} {part} labels, some of them outside of "
                f"0 to {content.classes - 1}, or none at all"
            )


def _digests(content: Content) -> dict[str, str]:
    return {name: _digest(array) for name, array in content.arrays().items()}


def _digest(array: Array) -> str:
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _joint(meta: Mapping[str, Any]) -> str:
    """A hash of all facts and digests; where the images lie is no part of it."""
    facts = {key: value for key, value in meta.items() if key not in ("digest", "source")}
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """What ``meta.json`` says, or nothing where it is missing or changed."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return meta if meta["digest"] == _joint(meta) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _wrong_sizes(folder: Path, meta: Mapping[str, Any]) -> list[str]:
    wrong = []
    for name, recorded in meta["arrays"].items():
        file = folder / f"{name}.npy"
        if not file.is_file() or file.stat().st_size != recorded["bytes"]:
            wrong.append(file.name)
    return wrong


def _map(folder: Path, name: str) -> Array:
    # Copy-on-write pages are shared like read-only ones, and torch takes them without a warning.
    array: Array = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return array


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
