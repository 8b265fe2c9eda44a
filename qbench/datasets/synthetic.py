"""Images made from a seed, for tests: small, learnable, without any file."""

from pathlib import Path

import numpy as np

from qbench.datasets.contract import Array, Content, Dataset
from qbench.datasets.streams import stream
from qbench.errors import UsageError
from qbench.registry import datasets

__all__ = ["Synthetic"]


@datasets.register("synthetic")
class Synthetic(Dataset):
    """Noisy copies of one random pattern a class; made in memory, for tests and trying out.

    Each pattern has four blocks a side of random brightness, so that it stands a small shift.
    """

    classes = 10
    shape = (3, 8, 8)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    augmentation = ()
    streamed = False

    def __init__(
        self,
        *,
        classes: int = 10,
        size: int = 8,
        channels: int = 3,
        train: int = 512,
        test: int = 256,
        noise: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Choose how many images, and how hard they are to tell apart.

        Args:
            classes: How many patterns.
            size: Height and width in pixels, a multiple of 4.
            channels: Colour channels.
            train: Training images.
            test: Test images.
            noise: Standard deviation of the noise, with pixels in [0, 1].
            seed: Another seed gives other patterns and other noise.

        Raises:
            UsageError: A number is out of range.
        """
        if min(classes, size, channels, train, test) < 1 or size % 4 or noise < 0:
            raise UsageError(
                f"the data set 'synthetic' cannot have classes={classes}, size={size}, "
                f"channels={channels}, train={train}, test={test}, noise={noise}; counts are at "
                "least 1, size is a multiple of 4, and noise is not negative"
            )
        self.classes = classes
        self.shape = (channels, size, size)
        self.mean, self.std = (0.5,) * channels, (0.25,) * channels
        self.counts = {"train": train, "test": test}
        self.noise = noise
        self.seed = seed

    def read(self, root: Path) -> Content:
        """Make the images; ``root`` is not used."""
        train, test = (self._make(part) for part in ("train", "test"))
        return Content(*train, *test, classes=self.classes, source="made")

    def _make(self, part: str) -> tuple[Array, Array]:
        channels, size, _ = self.shape
        draw = stream(self.seed, "synthetic patterns").uniform
        blocks = draw(0.2, 0.8, (self.classes, channels, 4, 4))
        patterns = blocks.repeat(size // 4, axis=2).repeat(size // 4, axis=3)
        generator = stream(self.seed, f"synthetic {part}")
        labels = generator.permutation(np.arange(self.counts[part], dtype=np.int64) % self.classes)
        pixels = patterns[labels] + self.noise * generator.standard_normal(
            (len(labels), *self.shape)
        )
        return np.rint(255 * pixels.clip(0, 1)).astype(np.uint8), labels
