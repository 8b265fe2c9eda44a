"""The basis of LQ-Nets: its levels, the codes nearest to values, and its least-squares fit."""

from itertools import product

import torch
from torch import Tensor

__all__ = ["fitted", "nearest", "signs", "sorted_levels"]

_HOLD = 1e-5
"""How strongly a fit holds the basis where it was, against one of the mean square of a code bit.
The published ridge of the weights, 1e-4 for the sum over a filter of ten or more."""


def signs(bit_width: int, lowest: float) -> Tensor:
    """All rows of bits, ``[2^k, k]``; a bit is ``lowest`` or 1."""
    return torch.tensor(list(product((lowest, 1.0), repeat=bit_width)))


def sorted_levels(basis: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """The levels of each row's basis in rising order, and the bits that make them.

    Args:
        basis: ``[rows, k]``.
        table: ``[L, k]``, see :func:`signs`.

    Returns:
        ``[rows, L]`` and ``[rows, L, k]``.
    """
    levels, order = (basis @ table.T).sort(dim=1)
    return levels, table[order]


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    """The number of the nearest level, ties up, int64 ``[rows, n]``.

    Args:
        values: ``[rows, n]``.
        levels: ``[rows, L]`` in rising order.
    """
    thresholds = (levels[:, 1:] + levels[:, :-1]) / 2
    return torch.searchsorted(thresholds.contiguous(), values.contiguous(), right=True)


def fitted(values: Tensor, codes: Tensor, basis: Tensor, bits: Tensor) -> Tensor:
    """The basis of least squared error for given codes, ``[rows, k]``.

    It solves ``(B'B + h I) (v - basis) = B'(values - B basis)``, with h so small that it matters
    only where codes leave a part of the basis undetermined, which then stays.

    Args:
        values: ``[rows, n]``.
        codes: ``[rows, n]``, numbers of levels.
        basis: ``[rows, k]``, from which the fit starts.
        bits: ``[rows, L, k]``, what each level is made of.
    """
    index = codes.unsqueeze(2).expand(-1, -1, bits.shape[2])
    planes = bits.gather(1, index)  # [rows, n, k]
    rest = values - (planes @ basis.unsqueeze(2)).squeeze(2)
    count = values.shape[1]
    gram = planes.mT @ planes / count
    moment = (planes.mT @ rest.unsqueeze(2)) / count
    hold = _HOLD * torch.eye(bits.shape[2], dtype=basis.dtype, device=basis.device)
    return basis + _solved(gram + hold, moment)


def _solved(gram: Tensor, moment: Tensor) -> Tensor:
    """``gram^-1 moment`` of few unknowns, ``[rows, k]``, by elimination.

    Positive definite matrices need no exchange of rows; and unlike the library's solver nothing
    here asks the device whether it went well, so that a step can be recorded.
    """
    system = torch.cat([gram, moment], dim=2)
    for column in range(gram.shape[1]):
        pivot = system[:, column] / system[:, column, column].unsqueeze(1)
        rest = system - system[:, :, column].unsqueeze(2) * pivot.unsqueeze(1)
        system = torch.cat([rest[:, :column], pivot.unsqueeze(1), rest[:, column + 1 :]], dim=1)
    return system[:, :, -1]
