"""Batch-norm statistics for the deployed weights, from training images, without any gradient."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from qbench.models.batch_norm import with_batch_statistics

__all__ = ["reestimate_batch_norm"]


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running means and variances by the plain average over batches.

    Each batch counts the same: the mean is the average of the batches' means, the variance that of
    their unbiased variances. As every layer reads what the layers before it make with the batch's
    own statistics, one pass is enough. Momentum and training flags are unchanged afterwards.

    Args:
        model: The network, usually the deployed one.
        batches: Images ``[batch, channels, height, width]``.

    Raises:
        ValueError: There is no batch.
    """
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("batch-norm statistics cannot be re-estimated from no batches")
    with with_batch_statistics(model) as norms:
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for the cumulative average
            model(first)
            for images in remaining:
                model(images)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
