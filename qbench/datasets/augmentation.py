"""Crop, flip and normalise, a batch at a time, on any device.

Pure functions of uint8 images and of what was drawn for them; a CPU and a GPU give equal bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["crop_and_flip", "crop_padding", "normalise", "scale_and_shift"]


def crop_padding(height: int, width: int) -> int:
    """Pixels of black border of a random crop: an eighth of the side, 4 for 32x32."""
    return min(height, width) // 8


def crop_and_flip(images: Tensor, offsets: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Cut each image out of its padded self, then mirror some.

    Rows and columns of all images become one gather on bytes: an eighth of the traffic of the
    same work on float32, and no loop over images.

    Args:
        images: uint8 ``[batch, channels, height, width]``.
        offsets: int64 ``[batch, 2]``, the crop's top and left in the padded image, each in
            ``[0, 2 * padding]``; ``padding`` leaves the image where it is.
        flips: bool ``[batch]``, which images to mirror left to right after the crop.
        padding: Pixels of black added on each side.

    Returns:
        uint8, of the shape of ``images``.
    """
    batch, channels, height, width = images.shape
    padded = functional.pad(images, (padding, padding, padding, padding))
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    rows = offsets[:, :1] + row
    columns = offsets[:, 1:] + torch.where(flips[:, None], column.flip(0), column)
    positions = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    wanted = positions.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.view(batch, channels, -1).gather(2, wanted).view_as(images)


def scale_and_shift(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The factors of :func:`normalise`, float32 ``[1, channels, 1, 1]`` each.

    Args:
        mean: A channel's mean, with pixels in [0, 1].
        std: A channel's standard deviation.
        device: Where the images are.
    """
    means, stds = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    pair = (1 / (255 * stds), -means / stds)
    scale, shift = (value.float().view(1, -1, 1, 1).to(device) for value in pair)
    return scale, shift


def normalise(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``pixel * scale + shift``, which is ``(pixel / 255 - mean) / std``.

    Args:
        images: uint8 ``[batch, channels, height, width]``.
        scale: See :func:`scale_and_shift`.
        shift: Likewise.

    Returns:
        float32 of the same shape, in channels-last memory.
    """
    values = images.float().mul_(scale).add_(shift)
    return values.contiguous(memory_format=torch.channels_last)
