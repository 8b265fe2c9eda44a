"""Batch-norm layers that use the statistics of the batch while everything else is evaluated."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["batch_norms", "with_batch_statistics"]


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that keep running statistics, in order."""
    return [
        part
        for part in model.modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    ]


@contextmanager
def with_batch_statistics(model: nn.Module) -> Iterator[list[_BatchNorm]]:
    """Batch norm as in training, all else (dropout, stochastic quantizers) as in evaluation.

    Args:
        model: The network; its training flags are restored afterwards.

    Yields:
        The batch-norm layers with running statistics, which forwards in the context update.
    """
    flags = [(part, part.training) for part in model.modules()]
    model.eval()
    layers = batch_norms(model)
    try:
        for layer in layers:
            layer.train()
        yield layers
    finally:
        for part, training in flags:
            part.training = training
