"""Sets of codes moved by one level: what the training gradient predicts, and what the loss does."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qbench.diagnostics.probe import Probe
from qbench.quantizers.contract import decode

__all__ = ["Fit", "Flips", "draw_sets", "fit", "flips", "neighbours", "percent", "respond"]

Numbers = NDArray[np.float64]
_RESAMPLES = 1000  # the standard error of a standard error is then 2 %


class Flips(NamedTuple):
    """Changes of the mean loss over flip sets, each ``[sets]``."""

    predicted: Numbers
    """gamma . dW."""
    actual: Numbers
    """L(W + dW) - L(W), of the deployed network."""


class Fit(NamedTuple):
    """How the actual changes follow the predicted ones, with standard errors."""

    correlation: float
    correlation_se: float
    slope: float
    slope_se: float
    offset: float
    offset_se: float


def percent(share: float) -> str:
    """A share as the names of readings write it: ``0.002`` is ``0.2pct``."""
    return f"{100 * share:g}pct"


def neighbours(codes: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The values one level below and above each code; at an edge both are the one inward.

    Args:
        codes: Integers in ``[0, L)``, of a weight.
        codebook: ``[L]`` or ``[channels, L]``, in any order, L at least 2.
    """
    ascending, order = codebook.sort(-1)
    place = decode(codes, order.argsort(-1))
    last = codebook.shape[-1] - 1
    below = torch.where(place > 0, place - 1, 1)
    above = torch.where(place < last, place + 1, last - 1)
    return decode(below, ascending), decode(above, ascending)


def draw_sets(
    generator: np.random.Generator, size: int, share: float, sets: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random coordinates ``[k]``, each at most once, and whether each is to go up ``[k]``.

    The first sets are the same however many are drawn.

    Args:
        generator: Where the numbers come from.
        size: How many coordinates there are.
        share: Which part of them a set has, at least one coordinate.
        sets: How many sets.
    """
    count = min(max(1, round(share * size)), size)
    for _ in range(sets):
        chosen = generator.choice(size, count, replace=False, shuffle=False)
        up = generator.random(count) < 0.5
        yield torch.from_numpy(chosen), torch.from_numpy(up)


def respond(
    loss: Callable[[Tensor], Tensor],
    gradient: Tensor,
    codes: Tensor,
    codebook: Tensor,
    sets: Iterable[tuple[Tensor, Tensor]],
) -> Flips:
    """Move the codes of each set by one level.

    Args:
        loss: The change of the mean loss, 0-dim, for a weight in place of the deployed one.
        gradient: gamma, dL/dW~, of the weight's shape.
        codes: The weight's codes.
        codebook: Its levels, ``[L]`` or ``[channels, L]``.
        sets: From :func:`draw_sets`.
    """
    deployed = decode(codes, codebook)
    here = deployed.flatten()
    below, above = (values.flatten() for values in neighbours(codes, codebook))
    slope = gradient.flatten().double()
    predicted, actual = [], []
    for drawn, directions in sets:
        chosen, up = drawn.to(here.device), directions.to(here.device)
        moved = torch.where(up, above[chosen], below[chosen])
        predicted.append((slope[chosen] * (moved - here[chosen]).double()).sum())
        changed = here.scatter(0, chosen, moved).view(deployed.shape)
        # In the deployed weight's memory format, in which a convolution rounds the same way.
        actual.append(loss(torch.empty_like(deployed).copy_(changed)))
    both = torch.stack([torch.stack(predicted), torch.stack(actual).double()]).cpu().numpy()
    return Flips(both[0], both[1])


def flips(probe: Probe, name: str, share: float, sets: int) -> Flips:
    """The flip sets of one layer whose weight is quantized, kept for who asks again.

    Args:
        probe: Undisturbed; the layer's gradient is taken if it was not before.
        name: The layer.
        share: Which part of the layer's codes a set moves.
        sets: How many sets.
    """
    key = f"flips/{name}/{share!r}"
    kept = probe.kept.get(key)
    if isinstance(kept, Flips) and len(kept.actual) >= sets:
        return Flips(kept.predicted[:sets], kept.actual[:sets])
    layer = probe.layers[name]
    if layer.weight_quantizer is None:
        raise TypeError(f"the weight of {name} is not quantized")
    gradient = probe.gradients[name].at_used
    with torch.no_grad():
        codes, codebook = layer.weight_quantizer.codes(layer.weight)
    generator = probe.random("flip sets", name, round(share * 1e6))
    with probe.suffix(name) as suffix:
        drawn = draw_sets(generator, codes.numel(), share, sets)
        found = respond(suffix.loss, gradient, codes, codebook, drawn)
    probe.kept[key] = found
    return found


def fit(found: Flips, generator: np.random.Generator) -> Fit | None:
    """Correlation, slope and offset of actual over predicted changes.

    ``r`` is Pearson's, with standard error ``(1 - r^2) / sqrt(sets)``; slope is
    ``cov(a, y) / var(a)``, offset ``mean(y - a) / sd(y)``, both with bootstrap errors over sets.

    Args:
        found: Changes over at least three sets.
        generator: Of the bootstrap.

    Returns:
        Nothing where the predictions or the losses do not differ from set to set.
    """
    predicted, actual = found
    if len(actual) < 3 or min(np.ptp(predicted), np.ptp(actual)) == 0:
        return None
    r, slope, offset = (float(value) for value in _statistics(predicted, actual))
    again = generator.integers(len(actual), size=(_RESAMPLES, len(actual)))
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample of one set again and again
        _, slopes, offsets = _statistics(predicted[again], actual[again])
    return Fit(
        correlation=r,
        correlation_se=(1 - r**2) / len(actual) ** 0.5,
        slope=slope,
        slope_se=_spread(slopes),
        offset=offset,
        offset_se=_spread(offsets),
    )


def _statistics(predicted: Numbers, actual: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    a = predicted - predicted.mean(-1, keepdims=True)
    y = actual - actual.mean(-1, keepdims=True)
    covariance, a_squares, y_squares = (a * y).mean(-1), (a * a).mean(-1), (y * y).mean(-1)
    offset = (actual - predicted).mean(-1) / np.sqrt(y_squares)
    return covariance / np.sqrt(a_squares * y_squares), covariance / a_squares, offset


def _spread(values: Numbers) -> float:
    return float(values[np.isfinite(values)].std())
