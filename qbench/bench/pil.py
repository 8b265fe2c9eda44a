"""Images through PIL and torchvision's transforms, one after the other, in a ``DataLoader``."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qbench.datasets.augmentation import crop_padding
from qbench.datasets.prepare import Images
from qbench.datasets.vision import torchvision_module

__all__ = ["ImageList", "pil_loader"]


class ImageList(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets give them: a PIL image, transformed when it is asked for.

    A random crop with a black border, a flip, conversion and normalisation for training;
    conversion and normalisation for evaluation.
    """

    def __init__(self, images: Images, *, train: bool) -> None:
        """Keep the bytes as ``[images, height, width, channels]``, the layout of PIL."""
        transforms = torchvision_module("transforms")
        pixels = images.train_images if train else images.test_images
        self.pixels = pixels.transpose(0, 2, 3, 1).copy()
        self.labels = images.train_labels if train else images.test_labels
        side = images.shape[1]
        random = [
            transforms.RandomCrop(side, padding=crop_padding(side, side)),
            transforms.RandomHorizontalFlip(),
        ]
        plain = [transforms.ToTensor(), transforms.Normalize(images.mean, images.std)]
        self.transform: Any = transforms.Compose([*random, *plain] if train else plain)

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Float32 ``[channels, height, width]``, and the label."""
        from PIL import Image  # comes with torchvision

        image = Image.fromarray(self.pixels[index])
        return self.transform(image), int(self.labels[index])


def pil_loader(
    images: Images, batch: int, *, train: bool, workers: int, pinned: bool = False
) -> "DataLoader[Any]":
    """Batches float32 ``[batch, channels, height, width]``, contiguous, and labels ``[batch]``.

    Args:
        images: Bytes in memory.
        batch: Images of a batch.
        train: Shuffled training images with crop and flip, else the test images in order.
        workers: Processes; 0 decodes in this one.
        pinned: Whether the batches lie in pinned memory, for a GPU.
    """
    return DataLoader(
        ImageList(images, train=train),
        batch_size=batch,
        shuffle=train,
        drop_last=train,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator().manual_seed(0),
    )
