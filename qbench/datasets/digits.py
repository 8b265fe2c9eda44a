"""scikit-learn's bundled digits: real images that are there without any file."""

from pathlib import Path

import numpy as np

from qbench.datasets.contract import Array, Content, Dataset
from qbench.datasets.streams import stream
from qbench.registry import datasets

__all__ = ["Digits"]

TEST_SHARE = 0.2
BRIGHTEST = 16  # the pixels are counts of 0 to 16


@datasets.register("digits")
class Digits(Dataset):
    """Handwritten digits, 1,797 images of 8x8, bundled with scikit-learn.

    The set has no test images of its own: a fixed fifth of each class is set apart. Training
    images are shifted by up to a pixel; a mirrored digit is another sign, so none is flipped.
    """

    classes = 10
    shape = (1, 8, 8)
    mean = (0.3043,)
    std = (0.3752,)
    augmentation = ("crop",)
    streamed = False

    def read(self, root: Path) -> Content:
        """Take the images from scikit-learn; ``root`` is not used."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / BRIGHTEST)).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        test = held_out(labels)
        train = np.setdiff1d(np.arange(len(labels)), test)
        return Content(
            images[train], labels[train], images[test], labels[test],
            classes=self.classes, source="scikit-learn",
        )  # fmt: skip


def held_out(labels: Array) -> Array:
    """Indices of the test images, sorted: the same share of each class, always the same ones.

    Own code, as scikit-learn promises no equal split from one version to the next.
    """
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = stream(0, "digits test", label).permutation(len(members))
        chosen.append(members[order[: round(TEST_SHARE * len(members))]])
    return np.sort(np.concatenate(chosen))
