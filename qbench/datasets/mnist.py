"""MNIST and Fashion-MNIST, checked here and read by torchvision's classes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from qbench.datasets.contract import Array, Content, Dataset, find_folder, fix_command
from qbench.datasets.vision import torchvision_module
from qbench.errors import UsageError
from qbench.registry import datasets

__all__ = ["FashionMnist", "Mnist"]

# torchvision has checksums of the packed files only, and does not look at the unpacked ones.
CHECKSUMS = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


@datasets.register("mnist")
class Mnist(Dataset):
    """MNIST: 60,000 + 10,000 handwritten digits of 28x28."""

    classes = 10
    shape = (1, 28, 28)
    mean = (0.1307,)
    std = (0.3081,)
    augmentation = ()
    streamed = False

    def read(self, root: Path) -> Content:
        """Read the unpacked idx files from ``root/mnist/MNIST/raw`` or ``root/MNIST/raw``."""
        return _read("mnist", "MNIST", root, self.classes)


@datasets.register("fashion_mnist")
class FashionMnist(Dataset):
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28, in 10 classes."""

    classes = 10
    shape = (1, 28, 28)
    mean = (0.2860,)
    std = (0.3530,)
    augmentation = ("crop", "flip")
    streamed = False

    def read(self, root: Path) -> Content:
        """Read the unpacked idx files from ``root/[fashion_mnist/]FashionMNIST/raw``."""
        return _read("fashion_mnist", "FashionMNIST", root, self.classes)


def _read(name: str, torchvision_name: str, root: Path, classes: int) -> Content:
    advice = fix_command(torchvision_name, root / name)
    checksums = CHECKSUMS[torchvision_name]
    files = {f"{torchvision_name}/raw/{file}": checksum for file, checksum in checksums.items()}
    folder = find_folder(name, root, list(files), advice)
    wrong = [file for file, checksum in files.items() if _md5(folder / file) != checksum]
    if wrong:
        raise UsageError(
            f"the data set '{name}' in {folder.absolute()} is damaged: {', '.join(wrong)} has a "
            f"wrong checksum; delete it and {advice}"
        )
    source = getattr(torchvision_module("datasets"), torchvision_name)
    train, test = source(folder, train=True), source(folder, train=False)
    return Content(*_arrays(train), *_arrays(test), classes=classes, source=str(folder.absolute()))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _arrays(part: Any) -> tuple[Array, Array]:
    return part.data.numpy()[:, None], part.targets.numpy().astype(np.int64)
