"""Batches for training and evaluation, the same for every quantizer and on every device.

Order, crops and flips of an epoch are drawn on the CPU, from streams that depend on the trial's
seed and the epoch alone, then moved to the device. So an epoch can be entered at any batch, and
nothing that a network or a quantizer draws can move them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from qbench.datasets.augmentation import scale_and_shift
from qbench.datasets.contract import Array
from qbench.datasets.prepare import Images
from qbench.datasets.streams import stream
from qbench.errors import UsageError
from qbench.study.trial import TrialData

__all__ = ["Batch", "Loader", "Part", "split"]

Batch = tuple[Tensor, Tensor]
"""Images float32 ``[batch, channels, height, width]``, channels last, and labels int64."""
Part = Literal["train", "test"]


def split(images: int, validation: int, limit: int | None) -> tuple[Array, Array]:
    """Which images train and which are held out: the same for every trial, whatever its seed.

    Args:
        images: How many training images the data set has.
        validation: How many of them are held out.
        limit: How many of the others are used; ``None`` takes all.

    Returns:
        The indices of the training and of the validation images, in the order of one fixed
        permutation; a smaller ``validation`` or ``limit`` takes a part of a larger one's.

    Raises:
        UsageError: Nothing is left to train on.
    """
    if validation >= images:
        raise UsageError(
            f"data.validation is {validation}, but there are {images} training images; hold out "
            f"fewer than {images}"
        )
    order = stream(0, "split").permutation(images)
    return order[validation:][:limit], order[:validation]


class Loader(ABC):
    """What a training run asks of its data; see :func:`qbench.datasets.loader.make_loader`."""

    def __init__(
        self,
        images: Images,
        data: TrialData,
        batch: int,
        evaluation_batch: int,
        augmentation: tuple[str, ...] | None,
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Split the training images, and keep what the batches depend on."""
        self.images = images
        self.batch = batch
        self.evaluation_batch = evaluation_batch
        self.augmentation = images.augmentation if augmentation is None else augmentation
        self.seed = seed
        self.device = torch.device(device)
        self.train_index, self.validation_index = split(
            len(images.train_labels), data.validation, data.limit
        )
        self.scale, self.shift = scale_and_shift(images.mean, images.std, self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; a last one that is not full is dropped, unless it is the only."""
        return max(len(self.train_index) // self.batch, 1)

    def training(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The augmented batches of an epoch.

        Args:
            epoch: From 0; each has its own order, crops and flips.
            start: The batch to begin with; those that follow are as in the whole epoch.
        """
        return (self.fetch(*picked) for picked in self.picks(epoch, start))

    def picks(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """What :meth:`fetch` makes each training batch of, on the device; see :meth:`training`."""
        order = stream(self.seed, "order", epoch).permutation(len(self.train_index))
        return self._picked(self.train_index[order], epoch, start)

    def plain_training(self, count_batches: int) -> Iterator[Batch]:
        """Unaugmented training batches, the same ones whatever the seed, at most an epoch of them.

        Args:
            count_batches: How many batches of the training size.
        """
        count = min(count_batches, self.steps_per_epoch) * self.batch
        return self._plain("train", self.train_index[:count], self.batch)

    def validation(self) -> Iterator[Batch] | None:
        """The held-out images, or nothing where none are held out."""
        if len(self.validation_index) == 0:
            return None
        return self._plain("train", self.validation_index, self.evaluation_batch)

    def test(self) -> Iterator[Batch]:
        """The test images, in their own order."""
        return self._plain("test", np.arange(len(self.images.test_labels)), self.evaluation_batch)

    def diagnostic(self, count: int) -> Batch:
        """One batch of unaugmented training images, the same whatever the seed.

        Args:
            count: How many; fewer where there are not as many.
        """
        return next(self._plain("train", self.train_index[:count], count))

    @abstractmethod
    def _plain(self, part: Part, index: Array, size: int) -> Iterator[Batch]:
        """Unaugmented batches of ``size``, the last of what remains."""

    @abstractmethod
    def fetch(self, *picked: Tensor) -> Batch:
        """A training batch of what was picked for it: a pure function of tensors."""

    @abstractmethod
    def _picked(self, index: Array, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        """The picks of an epoch whose order is ``index``, from batch ``start``."""
