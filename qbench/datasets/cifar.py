"""CIFAR-10 and CIFAR-100, read and checked by torchvision's classes."""

from pathlib import Path
from typing import Any

import numpy as np

from qbench.datasets.contract import Content, Dataset, find_folder, fix_command
from qbench.datasets.vision import torchvision_module
from qbench.errors import UsageError
from qbench.registry import datasets

__all__ = ["Cifar10", "Cifar100"]


@datasets.register("cifar10")
class Cifar10(Dataset):
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32 in 10 classes."""

    classes = 10
    shape = (3, 32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    augmentation = ("crop", "flip")
    streamed = False

    def read(self, root: Path) -> Content:
        """Read the Python version of the set from ``root/cifar10`` or ``root``."""
        batches = [f"data_batch_{number}" for number in range(1, 6)]
        files = [f"cifar-10-batches-py/{name}" for name in (*batches, "test_batch", "batches.meta")]
        return _read("cifar10", "CIFAR10", root, files, self.classes)


@datasets.register("cifar100")
class Cifar100(Dataset):
    """CIFAR-100: 50,000 + 10,000 colour images of 32x32 in 100 classes."""

    classes = 100
    shape = (3, 32, 32)
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    augmentation = ("crop", "flip")
    streamed = False

    def read(self, root: Path) -> Content:
        """Read the Python version of the set from ``root/cifar100`` or ``root``."""
        files = [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]
        return _read("cifar100", "CIFAR100", root, files, self.classes)


def _read(name: str, torchvision_name: str, root: Path, files: list[str], classes: int) -> Content:
    advice = fix_command(torchvision_name, root / name)
    folder = find_folder(name, root, files, advice)  # before torchvision's slow import
    source = getattr(torchvision_module("datasets"), torchvision_name)
    try:
        train, test = source(folder, train=True), source(folder, train=False)
    except RuntimeError:
        wrong = ", ".join(_wrong_files(source, folder))
        raise UsageError(
            f"the data set '{name}' in {folder.absolute()} is damaged: {wrong} has a wrong "
            f"checksum; delete it and {advice}"
        ) from None
    return Content(
        *_arrays(train), *_arrays(test), classes=classes, source=str(folder.absolute())
    )  # fmt: skip


def _wrong_files(source: Any, folder: Path) -> list[str]:
    check = torchvision_module("datasets.utils").check_integrity
    expected = dict([*source.train_list, *source.test_list])
    expected[source.meta["filename"]] = source.meta["md5"]
    names = {name: f"{source.base_folder}/{name}" for name in expected}
    return [path for name, path in names.items() if not check(folder / path, expected[name])]


def _arrays(part: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
    return images, np.asarray(part.targets, dtype=np.int64)
