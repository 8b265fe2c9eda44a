"""Small files in the formats of the real data sets."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qbench.datasets.prepare import Images, open_images, prepare
from qbench.study.trial import TrialData


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def open_set(tmp_path: Path) -> Callable[..., Images]:
    """Prepares a data set in a cache of its own and opens it."""

    def opened(name: str, root: Path | None = None, **options: Any) -> Images:
        data = TrialData(name=name, options=options)
        return open_images(prepare(data, root or tmp_path, tmp_path / "cache"))

    return opened


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with CIFAR-10 (5 x 4 + 6 images) and CIFAR-100 (8 + 6), and their checksums."""
    from torchvision import datasets

    generator = np.random.default_rng(0)
    root = tmp_path / "root"

    def write(base: Path, name: str, content: dict[str, Any]) -> list[str]:
        base.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(pickle.dumps(content, protocol=2))  # as the originals
        return [name, md5(base / name)]

    def batch(count: int, key: str, classes: int) -> dict[str, Any]:
        pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)  # 3 x 32 x 32
        return {"data": pixels, key: generator.integers(0, classes, count).tolist()}

    for kind, folder, key, parts, names in (
        (datasets.CIFAR10, "cifar10", "labels", (4, 4, 4, 4, 4, 6), "label_names"),
        (datasets.CIFAR100, "cifar100", "fine_labels", (8, 6), "fine_label_names"),
    ):
        base, classes = root / folder / kind.base_folder, int(folder.removeprefix("cifar"))
        files = [name for name, _ in (*kind.train_list, *kind.test_list)]
        written = [
            write(base, name, batch(count, key, classes))
            for name, count in zip(files, parts, strict=True)
        ]
        meta = write(base, kind.meta["filename"], {names: [str(i) for i in range(classes)]})
        monkeypatch.setattr(kind, "train_list", written[:-1])
        monkeypatch.setattr(kind, "test_list", written[-1:])
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    return root


@pytest.fixture
def mnist_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with MNIST and Fashion-MNIST of 7 + 3 images, and their checksums."""
    from qbench.datasets import mnist

    generator = np.random.default_rng(1)
    root = tmp_path / "root"
    for folder, kind in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")):
        raw = root / folder / kind / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 7), ("t10k", 3)):
            pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = generator.integers(0, 10, count, dtype=np.uint8)
            (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        monkeypatch.setitem(mnist.CHECKSUMS, kind, {file.name: md5(file) for file in raw.iterdir()})
    return root


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """The idx format: two zeros, 8 for bytes, the number of axes, and each axis's length."""
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(length.to_bytes(4, "big") for length in array.shape) + array.tobytes()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A root with ``folder/train`` (2 x 7 PNGs of 20x26) and ``folder/val`` (2 x 3)."""
    from PIL import Image

    generator = np.random.default_rng(2)
    root = tmp_path / "root"
    for part, count in (("train", 7), ("val", 3)):
        for label in ("cat", "dog"):
            folder = root / "folder" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 26, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root
