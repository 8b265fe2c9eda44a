"""The step with its network and quantizers compiled into few fused kernels."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from qbench.training.engine import Engine

__all__ = ["CompiledEngine"]

KINDS = 256
"""Kinds of networks that one process compiles, which a worker of a large study may see."""


class CompiledEngine(Engine):
    """Compiles the network, its quantizers in it, forward and backward.

    What was compiled stays with the process: a second trial of equal shape compiles nothing.

    Only training steps use what is compiled: diagnostics and evaluation run operator by operator,
    so that what is measured of a network does not depend on how it was trained.
    """

    name = "compiled"

    @cached_property
    def _compiled(self) -> Callable[[Tensor], Tensor]:
        # By itself torch compiles eight kinds and runs all others operator by operator, unsaid.
        torch._dynamo.config.recompile_limit = KINDS
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        # Compiled in the first step; it draws the random numbers that eager steps draw.
        return torch.compile(self.model, dynamic=False, options={"fallback_random": True})

    def _network(self, images: Tensor) -> Tensor:
        return self._compiled(images)
