"""The loader of a trial, and the one for images that fit in memory."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from qbench.datasets.augmentation import crop_and_flip, crop_padding, normalise
from qbench.datasets.batches import Batch, Loader, Part
from qbench.datasets.contract import Array
from qbench.datasets.prepare import Images
from qbench.datasets.streamed import StreamedLoader
from qbench.datasets.streams import stream
from qbench.study.trial import TrialData

__all__ = ["Batch", "Loader", "ResidentLoader", "StreamedLoader", "make_loader"]


def make_loader(
    images: Images,
    data: TrialData,
    batch: int,
    evaluation_batch: int,
    augmentation: tuple[str, ...] | None,
    seed: int,
    device: torch.device | str,
) -> Loader:
    """The batches of a trial.

    Args:
        images: The prepared data set.
        data: How many of its images are held out and used.
        batch: Images of a training batch.
        evaluation_batch: Images of an evaluation batch; changes no result.
        augmentation: ``crop``, ``flip``; ``None`` takes the data set's own.
        seed: The trial's seed.
        device: Where the batches are needed.

    Raises:
        UsageError: Nothing is left to train on.
    """
    kind = StreamedLoader if images.streamed else ResidentLoader
    return kind(images, data, batch, evaluation_batch, augmentation, seed, device)


class ResidentLoader(Loader):
    """Images that fit in memory: bytes on the device, or mapped from the cache on a CPU."""

    @cached_property
    def _parts(self) -> dict[Part, tuple[Tensor, Tensor]]:
        images = self.images
        return {
            "train": self._on_device(images.train_images, images.train_labels),
            "test": self._on_device(images.test_images, images.test_labels),
        }

    def _on_device(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)

    def _plain(self, part: Part, index: Array, size: int) -> Iterator[Batch]:
        images, labels = self._parts[part]
        for chosen in torch.split(torch.from_numpy(index).to(self.device), size):
            pixels = images.index_select(0, chosen)
            yield normalise(pixels, self.scale, self.shift), labels[chosen]

    def fetch(self, *picked: Tensor) -> Batch:
        """The batch of ``chosen``, ``offsets`` and ``flips``, gathered on the device."""
        images, labels = self._parts["train"]
        chosen, offsets, flips = picked
        pixels = images.index_select(0, chosen)
        if self.augmentation:
            pixels = crop_and_flip(pixels, offsets, flips, self._padding)
        return normalise(pixels, self.scale, self.shift), labels.index_select(0, chosen)

    def _picked(self, index: Array, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        order = torch.from_numpy(index).to(self.device)
        offsets, flips = self._draw(epoch, len(index))
        for step in range(start, self.steps_per_epoch):
            part = slice(step * self.batch, (step + 1) * self.batch)
            yield order[part], offsets[part], flips[part]

    @property
    def _padding(self) -> int:
        return crop_padding(*self.images.shape[1:]) if "crop" in self.augmentation else 0

    def _draw(self, epoch: int, count: int) -> tuple[Tensor, Tensor]:
        """Crop offsets ``[count, 2]`` and flips ``[count]``, as drawn for an epoch."""
        draw = stream(self.seed, "crop", epoch)
        offsets = torch.from_numpy(draw.integers(0, 2 * self._padding + 1, (count, 2)))
        flips = np.zeros(count, dtype=bool)
        if "flip" in self.augmentation:
            flips = stream(self.seed, "flip", epoch).integers(0, 2, count, dtype=bool)
        return offsets.to(self.device), torch.from_numpy(flips).to(self.device)
