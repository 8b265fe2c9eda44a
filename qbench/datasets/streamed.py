"""Images that do not fit in memory, decoded by worker processes while the network trains."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data

from qbench.datasets.augmentation import normalise
from qbench.datasets.batches import Batch, Loader, Part
from qbench.datasets.contract import Array
from qbench.datasets.streams import stream
from qbench.datasets.vision import torchvision_module
from qbench.errors import UsageError

__all__ = ["StreamedLoader"]

CENTER = 0.875  # the share of a side that evaluation keeps: 224 of 256 pixels
Key = tuple[int, Array]
"""An epoch, and the indices of a batch's images."""


class StreamedLoader(Loader):
    """Batches by torchvision's transforms in worker processes, one for each thread of the trial.

    The random numbers of an image depend on the seed, the epoch and the image alone, so that
    neither the number of workers nor the batch that an epoch is entered at changes a pixel.
    """

    def _plain(self, part: Part, index: Array, size: int) -> Iterator[Batch]:
        keys = [(0, index[first : first + size]) for first in range(0, len(index), size)]
        return self._decode(part, keys, augmentation=())

    def fetch(self, *picked: Tensor) -> Batch:
        """The images and labels themselves, which the workers have made."""
        images, labels = picked
        return images, labels

    def _picked(self, index: Array, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        firsts = range(start * self.batch, self.steps_per_epoch * self.batch, self.batch)
        keys = [(epoch, index[first : first + self.batch]) for first in firsts]
        return self._decode("train", keys, self.augmentation)

    def _decode(
        self, part: Part, keys: list[Key], augmentation: tuple[str, ...]
    ) -> Iterator[Batch]:
        names, labels = {
            "train": (self.images.train_images, self.images.train_labels),
            "test": (self.images.test_images, self.images.test_labels),
        }[part]
        transform = _transform(self.images.shape, augmentation)
        cuda = self.device.type == "cuda"
        loader = torch_data.DataLoader(
            _Files(Path(self.images.source), names, transform, self.seed),
            batch_size=None,
            sampler=keys,
            num_workers=torch.get_num_threads(),
            pin_memory=cuda,
            generator=torch.Generator(),  # else the loader draws from torch's global one
        )
        for (_, index), pixels in zip(keys, loader, strict=True):
            if isinstance(pixels, str):
                raise UsageError(pixels)
            on_device = pixels.to(self.device, non_blocking=cuda)
            chosen = torch.from_numpy(labels[index]).to(self.device)
            yield normalise(on_device, self.scale, self.shift), chosen


class _Files(torch_data.Dataset[Tensor | str]):
    """Batches of decoded images, uint8 ``[batch, 3, height, width]``, by epoch and indices.

    An image that cannot be read gives its sentence: an error raised in a worker process would
    arrive wrapped in that process's traceback.
    """

    def __init__(self, folder: Path, names: Array, transform: Any, seed: int) -> None:
        self.folder = folder
        self.names = names
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: Key) -> Tensor | str:
        epoch, indices = key
        try:
            return torch.stack([self._image(epoch, int(index)) for index in indices])
        except UsageError as error:
            return str(error)

    def _image(self, epoch: int, index: int) -> Tensor:
        path = self.folder / os.fsdecode(bytes(self.names[index]))
        try:
            image = torchvision_module("datasets.folder").default_loader(str(path))
        except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
            raise UsageError(f"the image {path} cannot be read ({error}); replace it") from None
        drawn = int(stream(self.seed, "image", epoch, index).integers(2**63))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.default_generator.manual_seed(drawn)
            pixels: Tensor = self.transform(image)
        return pixels


def _transform(shape: tuple[int, int, int], augmentation: tuple[str, ...]) -> Any:
    v2 = torchvision_module("transforms.v2")
    size = shape[1:]
    if "crop" in augmentation:
        steps = [v2.RandomResizedCrop(size, antialias=True)]
    else:
        steps = [v2.Resize(round(min(size) / CENTER), antialias=True), v2.CenterCrop(size)]
    if "flip" in augmentation:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, v2.PILToTensor()])
