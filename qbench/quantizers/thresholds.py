"""The code of a value among levels that are not evenly spaced: how many thresholds it reaches."""

import torch
from torch import Tensor

from qbench.quantizers.soft_steps import in_memory

__all__ = ["reached"]


def reached(values: Tensor, thresholds: Tensor) -> Tensor:
    """The number of thresholds that are no larger than each value, int64, laid out as the values.

    Args:
        values: Any shape, in memory without gaps, such as the result of an operation.
        thresholds: ``[n]``, in rising order.
    """
    flat = torch.bucketize(in_memory(values), thresholds, right=True)
    return flat.as_strided(values.shape, values.stride())
