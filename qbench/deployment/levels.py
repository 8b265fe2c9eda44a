"""Level values in few numbers: exactly, for a file, and as an even grid, for integer arithmetic."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qbench.quantizers.contract import decode

__all__ = ["TOLERANCE", "Grid", "Levels", "few_numbers", "rising", "uniform_grid", "used_levels"]

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
    number: int
    """How many levels a row has."""


def uniform_grid(codebook: Tensor, used: Tensor | None = None) -> Grid | None:
    """The grid of a codebook, if its levels rise in equal steps within the rounding of float32.

    Args:
        codebook: float32 ``[levels]`` or ``[channels, levels]``.
        used: What :func:`used_levels` returned; levels that no code has may lie anywhere.
    """
    rows = codebook.detach().double().reshape(-1, codebook.shape[-1])
    count, index = rows.shape[1], torch.arange(rows.shape[1], dtype=rows.dtype)
    seen = torch.ones_like(rows, dtype=torch.bool) if used is None else used
    offset, last = rows[:, 0], (seen * index).amax(1)
    step = (rows.gather(1, last.long()[:, None])[:, 0] - offset) / last.clamp_min(1)
    lone = offset.abs().where(offset != 0, 1.0)  # a row of which one level is used has any step
    step = step.where(last > 0, lone)
    error = ((rows - (offset[:, None] + step[:, None] * index)).abs() * seen).amax(1)
    largest = (rows.abs() * seen).amax(1)
    if bool((step < 0).any()) or bool((error > TOLERANCE * largest).any()):
        return None
    return Grid(offset, step, count)


def used_levels(codes: Tensor, codebook: Tensor) -> Tensor:
    """Which levels some code has, bool ``[1, levels]``, or ``[channels, levels]``.

    Args:
        codes: int64; of a codebook with a row a channel, axis 0 is that of channels.
        codebook: ``[levels]`` or ``[channels, levels]``.
    """
    rows = codes.flatten(1) if codebook.ndim == 2 else codes.reshape(1, -1)
    used = torch.zeros(len(rows), codebook.shape[-1], dtype=torch.bool)
    return used.scatter_(1, rows, True)


def rising(codes: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The same weight with its levels in rising order.

    Args:
        codes: int64, any shape.
        codebook: ``[levels]`` or ``[channels, levels]``, a row for each slice of axis 0.
    """
    order = codebook.argsort(dim=-1, stable=True)
    return decode(codes, order.argsort(dim=-1)), codebook.gather(-1, order)


class Levels(NamedTuple):
    """Level values as the few numbers that give them again bit for bit.

    ``offset + scale * rows``, with neither, or no offset; in place of rows may stand a progression,
    ``(first + stride * code) / divisor``. All is float32, with a rounding after each operation.
    """

    number: int
    """How many levels."""
    rows: Tensor | None = None
    """float32 ``[levels]`` or ``[channels, levels]``."""
    progression: tuple[int, int, int] | None = None
    """first, stride, divisor."""
    scale: Tensor | None = None
    """float32 ``[1]`` or ``[channels]``."""
    offset: Tensor | None = None
    """Likewise."""

    def codebook(self) -> Tensor:
        """The level values, float32 ``[levels]`` or ``[channels, levels]``."""
        values = self.rows
        if values is None:
            if self.progression is None:
                raise ValueError("levels need rows or a progression")
            values = _numbers(self.progression, self.number)
        if self.scale is not None:
            values = self.scale[:, None] * values
        if self.offset is not None:
            values = self.offset[:, None] + values
        return values[0] if values.ndim == 2 and len(values) == 1 else values

    def times(self, factor: Tensor) -> "Levels":
        """The levels of a weight whose channels are multiplied by ``factor``, float64 ``[C]``."""
        if self.scale is None and self.rows is not None and self.rows.ndim == 2:
            return self._replace(rows=(factor[:, None] * self.rows.double()).float())
        scale = factor if self.scale is None else factor * self.scale.double()
        offset = None if self.offset is None else (factor * self.offset.double()).float()
        return self._replace(scale=scale.float(), offset=offset)


def few_numbers(codes: Tensor, codebook: Tensor) -> Levels:
    """The shortest :class:`Levels` that give each code's level bit for bit.

    Args:
        codes: int64, on the CPU; levels that no code has are free.
        codebook: float32 ``[levels]`` or ``[channels, levels]``.
    """
    rows, used = codebook.detach().reshape(-1, codebook.shape[-1]), used_levels(codes, codebook)
    count = rows.shape[1]
    for progression in _progressions(count):
        numbers = _numbers(progression, count)
        scale = _fitting(rows, used, numbers, None)
        if scale is not None:
            return Levels(count, progression=progression, scale=scale)
    for divisor in (1, count - 1) if count > 2 else ():  # two rows are as few as these two numbers
        progression = (0, 1, divisor)
        scale = _fitting(rows, used, _numbers(progression, count), rows[:, 0])
        if scale is not None:
            return Levels(count, progression=progression, scale=scale, offset=rows[:, 0].clone())
    return Levels(count, rows=codebook.detach().clone())


def _numbers(progression: tuple[int, int, int], count: int) -> Tensor:
    first, stride, divisor = progression
    return (first + stride * torch.arange(count, dtype=torch.float32)) / divisor


def _fitting(rows: Tensor, used: Tensor, numbers: Tensor, offset: Tensor | None) -> Tensor | None:
    """The scale of each row, among the floats next to a guess, that gives the row's used values."""
    start = torch.zeros(len(rows)) if offset is None else offset
    farthest = (numbers.abs() * used).argmax(1)
    distance = rows.gather(1, farthest[:, None])[:, 0].double() - start.double()
    guess = (distance / numbers[farthest].double()).float()
    guess = guess.where(numbers[farthest] != 0, 1.0)  # only the level at 0 is used

    def values(scale: Tensor) -> Tensor:
        products = scale[:, None] * numbers
        return products if offset is None else offset[:, None] + products

    return _nearest(guess, lambda scale: ((values(scale) == rows) | ~used).all(1))


def _nearest(guess: Tensor, fits: Callable[[Tensor], Tensor]) -> Tensor | None:
    found, known = guess.clone(), torch.zeros(len(guess), dtype=torch.bool)
    for toward in (-torch.inf, torch.inf):
        scale = guess.clone()
        for _ in range(NEIGHBOURS + 1):
            here = fits(scale) & ~known
            found, known = torch.where(here, scale, found), known | here
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
