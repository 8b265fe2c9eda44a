"""Readings without those that are not defined."""

from collections.abc import Iterable, Iterator

import torch

from qbench.diagnostics.contract import Reading

__all__ = ["finite"]


def finite(readings: Iterable[Reading]) -> Iterator[Reading]:
    """Those readings whose value is a number; the host waits for the device once.

    Args:
        readings: With 0-dim values, not a number or infinite where nothing is defined.
    """
    several = list(readings)
    if several:
        defined = torch.stack([one.value.double().isfinite() for one in several]).tolist()
        yield from (one for one, known in zip(several, defined, strict=True) if known)
