"""What a data set owes: literal facts, and one function that reads its files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qbench.errors import UsageError

__all__ = ["Content", "Dataset", "find_folder", "fix_command"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Content:
    """The images and labels of a data set, as read from its files."""

    train_images: Array
    """uint8 ``[images, channels, height, width]``; of a streamed set, file names as bytes."""
    train_labels: Array
    """int64 ``[images]``, in ``[0, classes)``."""
    test_images: Array
    test_labels: Array
    classes: int
    source: str
    """Where the images come from; of a streamed set, the folder that the file names start in."""
    train_bytes: Array | None = None
    """Of a streamed set, the files' sizes, by which a changed file is noticed."""
    test_bytes: Array | None = None

    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        names = ("train_images", "train_labels", "test_images", "test_labels")
        found = {name: getattr(self, name) for name in (*names, "train_bytes", "test_bytes")}
        return {name: array for name, array in found.items() if array is not None}


class Dataset(ABC):
    """A source of images; keyword-only arguments of ``__init__`` are its options.

    Facts are literal attributes of each registered class, which ``qbench list`` reads without an
    import; an option may replace one of them in the instance.
    """

    classes: int = 0
    """How many; 0 where only the files tell."""
    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    """A channel's mean over the training images, with pixels in [0, 1]."""
    std: tuple[float, ...]
    """A channel's standard deviation, likewise."""
    augmentation: tuple[str, ...]
    """What is usually done to its training images: ``crop``, ``flip``."""
    streamed: bool = False
    """Whether images stay in their files and are decoded whenever they are used."""

    @abstractmethod
    def read(self, root: Path) -> Content:
        """Verify and decode the files under ``root``.

        Raises:
            UsageError: A file is missing or wrong; the sentence says which and what to do.
        """


def fix_command(name: str, folder: Path) -> str:
    """The command that fetches a set of torchvision's into ``folder``."""
    return (
        f'on a machine with a network run: python -c "from torchvision import datasets; '
        f"datasets.{name}('{folder}', download=True)\""
    )


def find_folder(name: str, root: Path, inside: Sequence[str], advice: str) -> Path:
    """The folder of a data set: ``root/name``, or ``root`` itself.

    Args:
        name: The data set's name, also that of its own folder.
        root: The folder of all data sets.
        inside: Files or folders, relative to the folder, that must all be there.
        advice: What to do where they are missing.

    Raises:
        UsageError: Something is missing; the sentence says what, where, and ``advice``.
    """
    folders = (root / name, root)
    missing = [[item for item in inside if not (folder / item).exists()] for folder in folders]
    for folder, items in zip(folders, missing, strict=True):
        if not items:
            return folder
    nearest = 1 if len(missing[1]) < len(missing[0]) else 0
    if len(missing[nearest]) < len(inside):
        raise UsageError(
            f"the data set '{name}' in {folders[nearest].absolute()} is not whole: "
            f"{', '.join(missing[nearest])} missing; {advice}"
        )
    raise UsageError(
        f"the data set '{name}' is missing: there is no {inside[0]} in "
        f"{folders[0].absolute()} or {root.absolute()}; {advice}, or set data.root to the folder "
        f"that has it"
    )
