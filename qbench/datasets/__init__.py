"""Data sets: verified and decoded once by the driver, mapped into memory by the workers."""

from qbench.datasets.cache import Images, open_images, prepare

__all__ = ["Images", "open_images", "prepare"]
