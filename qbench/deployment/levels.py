"""Level values in few numbers: exactly, for a file, and as an even grid, for integer arithmetic."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qbench.quantizers.contract import decode

__all__ = ["Grid", "Levels", "few_numbers", "rising", "uniform_grid"]

TOLERANCE = 2.0**-20
"""Of the largest level. A grid in float32 takes up to four roundings, each of 2^-24 of twice the
largest level, and its two ends, from which the step is read, have them too."""
NEIGHBOURS = 8  # floats on each side of a first guess; the step of a grid is off by few of them


class Grid(NamedTuple):
    """Equally spaced levels ``offset + step * code``, a row for each channel or one for all."""

    offset: Tensor
    """float64 ``[rows]``."""
    step: Tensor
    """float64 ``[rows]``, 0 where all levels of a row are equal, else positive."""
    count: int
    """How many levels a row has."""


def uniform_grid(codebook: Tensor) -> Grid | None:
    """The grid of a codebook, if its levels rise in equal steps within the rounding of float32.

    Args:
        codebook: float32 ``[levels]`` or ``[channels, levels]``.
    """
    rows = codebook.detach().double().reshape(-1, codebook.shape[-1])
    count = rows.shape[1]
    offset, step = rows[:, 0], (rows[:, -1] - rows[:, 0]) / max(count - 1, 1)
    index = torch.arange(count, dtype=rows.dtype, device=rows.device)
    error = (rows - (offset[:, None] + step[:, None] * index)).abs().amax(1)
    if bool((step < 0).any()) or bool((error > TOLERANCE * rows.abs().amax(1)).any()):
        return None
    return Grid(offset, step, count)


def rising(codes: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The same weight with its levels in rising order.

    Args:
        codes: int64, any shape.
        codebook: ``[levels]`` or ``[channels, levels]``, a row for each slice of axis 0.
    """
    order = codebook.argsort(dim=-1, stable=True)
    return decode(codes, order.argsort(dim=-1)), codebook.gather(-1, order)


class Levels(NamedTuple):
    """Level values in as few numbers as give them again bit for bit.

    Either ``rows``, all values; or ``scale * ((first + stride * code) / divisor)``; or
    ``offset + scale * code``: float32, a rounding after each operation.
    """

    count: int
    """How many levels."""
    scale: Tensor | None = None
    """float32 ``[1]`` or ``[channels]``."""
    offset: Tensor | None = None
    """Likewise."""
    progression: tuple[int, int, int] | None = None
    """first, stride, divisor."""
    rows: Tensor | None = None
    """float32 ``[levels]`` or ``[channels, levels]``."""

    def codebook(self) -> Tensor:
        """The level values, float32 ``[levels]`` or ``[channels, levels]``."""
        if self.rows is not None:
            return self.rows
        if self.scale is None:
            raise ValueError("levels need rows or a scale")
        if self.progression is not None:
            values = self.scale[:, None] * _numbers(self.progression, self.count)
        else:
            if self.offset is None:
                raise ValueError("levels with a scale need an offset or a progression")
            index = torch.arange(self.count, dtype=torch.float32)
            values = self.offset[:, None] + self.scale[:, None] * index
        return values[0] if len(values) == 1 else values

    def times(self, factor: Tensor) -> "Levels":
        """The levels of a weight whose channels are multiplied by ``factor``, float64 ``[C]``."""

        def multiplied(values: Tensor | None, column: bool = False) -> Tensor | None:
            if values is None:
                return None
            return (values.double() * (factor[:, None] if column else factor)).float()

        return self._replace(
            scale=multiplied(self.scale),
            offset=multiplied(self.offset),
            rows=multiplied(self.rows, column=True),
        )


def few_numbers(codebook: Tensor) -> Levels:
    """The shortest :class:`Levels` whose ``codebook()`` equals a codebook bit for bit.

    Args:
        codebook: float32 ``[levels]`` or ``[channels, levels]``, on the CPU.
    """
    rows = codebook.detach().reshape(-1, codebook.shape[-1])
    count = rows.shape[1]
    for progression in _progressions(count):
        numbers = _numbers(progression, count)
        largest = int(numbers.abs().argmax())
        guess = rows[:, largest] / numbers[largest]
        scale = _fitting(rows, guess, lambda one, numbers=numbers: one[:, None] * numbers)
        if scale is not None:
            return Levels(count, scale=scale, progression=progression)
    if count > 2:  # two values are as few as an offset and a scale
        index = torch.arange(count, dtype=torch.float32)
        offset = rows[:, :1].clone()
        guess = ((rows[:, -1].double() - rows[:, 0].double()) / (count - 1)).float()
        scale = _fitting(rows, guess, lambda one: offset + one[:, None] * index)
        if scale is not None:
            return Levels(count, scale=scale, offset=offset[:, 0])
    return Levels(count, rows=codebook.detach().clone())


def _numbers(progression: tuple[int, int, int], count: int) -> Tensor:
    first, stride, divisor = progression
    return (first + stride * torch.arange(count, dtype=torch.float32)) / divisor


def _fitting(rows: Tensor, guess: Tensor, values: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The scale of each row, among the floats next to a guess, that gives the row's values."""
    found, known = guess.clone(), torch.zeros(len(rows), dtype=torch.bool)
    for toward in (-torch.inf, torch.inf):
        scale = guess.clone()
        for _ in range(NEIGHBOURS + 1):
            fits = (values(scale) == rows).all(1) & ~known
            found, known = torch.where(fits, scale, found), known | fits
            scale = torch.nextafter(scale, torch.full_like(scale, toward))
    return found if bool(known.all()) else None


def _progressions(count: int) -> tuple[tuple[int, int, int], ...]:
    steps = count - 1
    return (
        (-steps, 2, steps),  # from -1 to 1, as fractions
        (-steps, 2, 1),  # odd numbers
        (-(count // 2), 1, 1),  # two's complement, or -1, 0, 1
        (0, 1, 1),
        (0, 1, steps),  # from 0 to 1, as fractions
    )
