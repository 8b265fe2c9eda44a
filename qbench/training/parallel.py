"""One trial on several devices of a machine: its processes share out the images of each step.

Every process holds the whole network and runs the same steps. Gradients are averaged, and batch
norm uses the statistics of the whole batch, so a step is, up to rounding, that of one process.
Stochastic quantizers of activations draw the same numbers in each process, for other images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from qbench.errors import UsageError
from qbench.models.batch_norm import batch_norms
from qbench.quantizers.contract import Progress
from qbench.study.schema import Training
from qbench.training.engine import Engine, Fetch, Inputs, Outcome, as_given

__all__ = ["ParallelEngine", "SharedBatchNorm"]


class _Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; torch's own is on its way out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _summed(x: Tensor) -> Tensor:
    result: Tensor = _Summed.apply(x)  # type: ignore[no-untyped-call]
    return result


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm that uses, while ``shared``, the statistics of all processes' images.

    Torch's ``SyncBatchNorm`` does so always, and on GPUs only.
    """

    shared = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[batch, channels, height, width]``."""
        if not self.shared:
            return super().forward(x)
        mean, variance, count = self._statistics(x)
        with torch.no_grad():
            self._remember(mean, variance * (count / (count - 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shifted = (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
        return shifted + self.bias.view(1, -1, 1, 1) if self.affine else shifted

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance ``[channels]``, and how many values each is of."""
        count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        sums = _summed(torch.cat([x.sum((0, 2, 3)), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(1, -1, 1, 1)
        return mean, _summed(centred.square().sum((0, 2, 3))) / count, count

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise UsageError("batch norm without running statistics cannot be shared")
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _shared(norm: nn.Module) -> SharedBatchNorm:
    """The very same layer, whose class is another one from here on."""
    if type(norm) is not nn.BatchNorm2d:
        raise UsageError(
            f"{type(norm).__name__} cannot share its statistics among the processes of a trial; "
            "set resources.gpus to 1 or less for this model"
        )
    norm.__class__ = SharedBatchNorm
    return cast(SharedBatchNorm, norm)


class ParallelEngine(Engine):
    """Steps on this process's part of each batch, together with the trial's other processes."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        training: Training,
        fetch: Fetch = as_given,
    ) -> None:
        """As :class:`Engine`, in a process group that is ready."""
        super().__init__(model, optimizers, training, fetch)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.name = f"eager, {self.size} processes"
        self._shared = False
        self._norms = [_shared(part) for part in batch_norms(model)]
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        owned = [*model.parameters(), *(one for group in groups for one in group["params"])]
        self._owned = list({id(parameter): parameter for parameter in owned}.values())

    def step(self, inputs: Inputs, progress: Progress) -> Outcome:
        """Train on one batch, of which this process takes its part."""
        self.set_progress(progress)
        mine = tuple(part.tensor_split(self.size)[self.rank] for part in inputs)
        self._weight = len(mine[-1]) * self.size / len(inputs[-1])
        with self._sharing():
            loss, correct = self._compute(mine)
        told = torch.stack([loss.double() / self.size, correct.double()])
        dist.all_reduce(told)
        return told[0].to(loss.dtype), told[1].to(correct.dtype)

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Only steps are shared: the first process evaluates and measures alone."""
        self._set_shared(True)
        try:
            yield
        finally:
            self._set_shared(False)

    def _set_shared(self, shared: bool) -> None:
        self._shared = shared
        for norm in self._norms:
            norm.shared = shared

    def _task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = super()._task_loss(logits, labels)
        return loss * self._weight if self._shared else loss  # parts may differ by one image

    def _after_gradients(self) -> None:
        """Average all gradients, in one message."""
        if not self._shared:
            return
        gradients = [one.grad for one in self._owned if one.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        means = torch.split(flat / self.size, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view(gradient.shape))
