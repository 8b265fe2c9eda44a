"""Named streams of random numbers, independent of each other and of torch's generators.

A quantizer that draws random numbers must not move the order of the images, or their crops. So
each use has its own counter-based generator, a pure function of its name and its counters: no
state is kept, and an epoch can be drawn without those before it.
"""

import hashlib
import json

from numpy.random import Generator, Philox

__all__ = ["stream"]


def stream(seed: int, name: str, *counters: int) -> Generator:
    """The generator of one use.

    Args:
        seed: The trial's seed, or a constant where all trials must agree.
        name: What the numbers are for, such as ``"crop"``.
        counters: Where in the use, such as the epoch and the image.

    Returns:
        A fresh generator; equal arguments give equal numbers.
    """
    text = json.dumps([int(seed), name, *(int(counter) for counter in counters)])
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return Generator(Philox(key=int.from_bytes(key, "little")))
