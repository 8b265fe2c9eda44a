"""The step with its network and quantizers compiled into few fused kernels."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qbench.study.schema import Training
from qbench.training.engine import Engine, Fetch, as_given

__all__ = ["CompiledEngine"]


class CompiledEngine(Engine):
    """Compiles the network, its quantizers in it, forward and backward.

    Only training steps use what is compiled: diagnostics and evaluation run operator by operator,
    so that what is measured of a network does not depend on how it was trained.
    """

    name = "compiled"

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        training: Training,
        fetch: Fetch = as_given,
    ) -> None:
        """Compilation itself happens in the first step."""
        super().__init__(model, optimizers, training, fetch)
        self._compiled = torch.compile(model, dynamic=False)

    def _network(self, images: Tensor) -> Tensor:
        logits: Tensor = self._compiled(images)
        return logits
