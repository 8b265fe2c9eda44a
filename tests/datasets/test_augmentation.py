import numpy as np
import pytest
import torch

from qbench.datasets.augmentation import crop_and_flip, crop_padding, normalise, scale_and_shift


def reference(image, top, left, flip, padding):
    """One image, the long way: pad with black, cut, mirror."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    cut = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return cut[:, :, ::-1] if flip else cut


@pytest.mark.parametrize(
    ("shape", "padding"), [((40, 3, 32, 32), 4), ((9, 1, 8, 8), 1), ((5, 2, 6, 10), 3)]
)
def test_crop_and_flip_equal_the_image_by_image_reference(shape, padding):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    offsets = generator.integers(0, 2 * padding + 1, (shape[0], 2))
    offsets[:2] = [[0, 2 * padding], [2 * padding, 0]]  # both ends of both axes
    flips = generator.integers(0, 2, shape[0]).astype(bool)
    got = crop_and_flip(
        torch.from_numpy(images), torch.from_numpy(offsets), torch.from_numpy(flips), padding
    )
    wanted = [
        reference(image, *offset, flip, padding)
        for image, offset, flip in zip(images, offsets, flips, strict=True)
    ]
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), np.stack(wanted))


def test_a_centred_crop_without_flip_changes_nothing():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    offsets, flips = torch.full((2, 2), 1), torch.zeros(2, dtype=torch.bool)
    assert torch.equal(crop_and_flip(images, offsets, flips, 1), images)


def test_padding_is_the_usual_one_for_32_pixels():
    assert crop_padding(32, 32) == 4  # He et al., 2016: 4 pixels on each side of 32x32
    assert crop_padding(8, 8) == 1


def test_normalise_gives_the_textbook_value_in_channels_last():
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    got = normalise(images, *scale_and_shift(mean, std, torch.device("cpu")))
    exact = (images.double() / 255 - torch.tensor(mean).double().view(1, -1, 1, 1)) / (
        torch.tensor(std).double().view(1, -1, 1, 1)
    )
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    # Four roundings of float32 (scale, shift, product, sum) of terms that are at most 5.
    assert (got.double() - exact).abs().max() <= 4 * 5 * 2**-24


def test_mean_and_std_of_the_images_become_0_and_1():
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    pixels = images.double() / 255
    factors = scale_and_shift((pixels.mean().item(),), (pixels.std().item(),), torch.device("cpu"))
    got = normalise(images, *factors)
    assert abs(got.mean().item()) < 1e-5  # float32 sum of 4096 values
    assert got.std().item() == pytest.approx(1, abs=1e-5)  # likewise
