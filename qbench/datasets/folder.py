"""Image folders that do not fit in memory: listed once, decoded whenever they are used."""

import os
from pathlib import Path

import numpy as np

from qbench.datasets.contract import Array, Content, Dataset, find_folder
from qbench.datasets.vision import torchvision_module
from qbench.errors import UsageError
from qbench.registry import datasets

__all__ = ["Folder", "ImageNet"]


class _Streamed(Dataset):
    """What both sets share: ``train/CLASS/*`` and ``val/CLASS/*`` or ``test/CLASS/*``."""

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    streamed = True

    def _list(self, name: str, root: Path) -> Content:
        layout = "it holds train/CLASS/IMAGE and val/CLASS/IMAGE or test/CLASS/IMAGE"
        folder = find_folder(name, root, ["train"], f"put the images there so that {layout}")
        parts = [part for part in ("test", "val") if (folder / part).is_dir()]
        if not parts:
            raise UsageError(
                f"the data set '{name}' in {folder.absolute()} has no val or test folder; {layout}"
            )
        classes = _classes(folder / "train")
        extra = sorted(set(_classes(folder / parts[0])) - set(classes))
        if extra:
            raise UsageError(
                f"the data set '{name}' has classes in {folder.absolute() / parts[0]} that are not "
                f"in train: {', '.join(extra[:5])}; both need the same class folders"
            )
        train = _files(folder, "train", classes)
        test = _files(folder, parts[0], classes)
        return Content(
            train[0], train[1], test[0], test[1], classes=len(classes),
            source=str(folder.absolute()), train_bytes=train[2], test_bytes=test[2],
        )  # fmt: skip


@datasets.register("folder")
class Folder(_Streamed):
    """Any folder of images with train/ and val/ or test/, one sub-folder a class; streamed.

    With both, test/ is used and val/ is not: validation images are held out of train/.
    """

    shape = (3, 224, 224)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    augmentation = ("crop", "flip")
    streamed = True

    def __init__(self, *, folder: str = "folder", size: int = 224) -> None:
        """Choose the folder and the size of the network's input.

        Args:
            folder: The folder's name inside the root; without it, the root itself may be it.
            size: Height and width in pixels that images are scaled and cut to.

        Raises:
            UsageError: The size is out of range.
        """
        self.folder = folder
        self.shape = (3, _checked(size), size)

    def read(self, root: Path) -> Content:
        """List the images; nothing is decoded."""
        return self._list(self.folder, root)


@datasets.register("imagenet")
class ImageNet(_Streamed):
    """ImageNet (ILSVRC 2012): 1.28 million + 50,000 images in 1,000 classes; streamed."""

    classes = 1000
    shape = (3, 224, 224)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    augmentation = ("crop", "flip")
    streamed = True

    def __init__(self, *, size: int = 224) -> None:
        """Choose the size of the network's input.

        Args:
            size: Height and width in pixels that images are scaled and cut to.

        Raises:
            UsageError: The size is out of range.
        """
        self.shape = (3, _checked(size), size)

    def read(self, root: Path) -> Content:
        """List the images in ``root/imagenet`` or ``root``; nothing is decoded."""
        content = self._list("imagenet", root)
        if content.classes != self.classes:
            raise UsageError(
                f"the data set 'imagenet' in {content.source} has {content.classes} class folders "
                f"in train, and ImageNet has {self.classes}; for a part of it use 'folder'"
            )
        return content


def _checked(size: int) -> int:
    if size < 8:
        raise UsageError(f"size={size} is too small for an image; take 8 pixels or more")
    return size


def _classes(folder: Path) -> dict[str, int]:
    find = torchvision_module("datasets.folder").find_classes
    try:
        found: dict[str, int] = find(folder)[1]
    except FileNotFoundError:
        raise UsageError(
            f"there is no class folder in {folder.absolute()}; put each class's images in a "
            "folder of its own"
        ) from None
    return found


def _files(folder: Path, part: str, classes: dict[str, int]) -> tuple[Array, Array, Array]:
    """Names relative to ``folder`` as bytes, labels, and sizes in bytes."""
    listing = torchvision_module("datasets.folder")
    try:
        samples = listing.make_dataset(
            folder / part, classes, listing.IMG_EXTENSIONS, allow_empty=part != "train"
        )
    except FileNotFoundError as error:
        raise UsageError(f"in {folder.absolute() / part}: {error}") from None
    if not samples:
        raise UsageError(f"there is no image in {folder.absolute() / part}")
    names = [os.fsencode(os.path.relpath(path, folder)) for path, _ in samples]
    sizes = [os.path.getsize(path) for path, _ in samples]
    labels = [label for _, label in samples]
    return np.array(names), np.array(labels, np.int64), np.array(sizes, np.int64)
