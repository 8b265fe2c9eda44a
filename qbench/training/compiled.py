"""The step with its network and quantizers compiled into few fused kernels."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from qbench.training.engine import Engine

__all__ = ["CompiledEngine"]


class CompiledEngine(Engine):
    """Compiles the network, its quantizers in it, forward and backward.

    Only training steps use what is compiled: diagnostics and evaluation run operator by operator,
    so that what is measured of a network does not depend on how it was trained.
    """

    name = "compiled"

    @cached_property
    def _compiled(self) -> Callable[[Tensor], Tensor]:
        # Compiled in the first step; it draws the random numbers that eager steps draw.
        return torch.compile(self.model, dynamic=False, options={"fallback_random": True})

    def _network(self, images: Tensor) -> Tensor:
        return self._compiled(images)
