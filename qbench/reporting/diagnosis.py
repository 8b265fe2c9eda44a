"""What the diagnostics say of a row in one setting: numbers with their errors, and its class."""

import math
from typing import Literal, NamedTuple

import pandas as pd

from qbench.reporting.collect import TrialResult
from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.statistics import estimate

__all__ = [
    "GAPS", "PREDICTION", "Class", "Measured", "class_of", "decibels", "diagnosed", "gap",
    "gap_at", "measured",
]  # fmt: skip

GAPS = ("discretization/train_deploy_gap", "discretization/activation_gap")
"""Of weights, and of activations in the network that is hard throughout."""
PREDICTION = "gradient/flip_set_r_1pct"
NORMAL = 1.96
"""Standard errors on each side of a 95 % interval."""
Class = Literal[
    "hard forward", "soft forward, exact backward", "soft forward, modified backward",
    "not measured",
]  # fmt: skip

EXACT_COSINE, EXACT_GAIN = 0.99, 0.05
"""An exact backward measures 0.998 and a gain within 0.004 of 1 in a deep network, whose ReLUs have
kinks; a replaced one at most 0.92 (ResNet-20)."""


class Measured(NamedTuple):
    """A mean over seeds."""

    n: int
    mean: float
    half: float
    """Half the width of its 95 % interval; not a number where there is none."""


def measured(group: Group, name: str, scale: float = 1.0) -> Measured:
    """The last value of a diagnostic, mean of seeds.

    The interval is the t interval over seeds; with fewer seeds than that takes, it holds the
    diagnostic's own standard error only, where it tells one.
    """
    found = estimate(group.values(name, scale).tolist())
    if found.has_interval:
        return Measured(found.n, found.mean, found.half_width)
    errors = group.values(f"{name}_se", scale)
    if not found.n or len(errors) != found.n:
        return Measured(found.n, found.mean, math.nan)
    half = NORMAL * math.sqrt(math.fsum(errors**2)) / found.n
    return Measured(found.n, found.mean, half)


def gap_at(result: TrialResult, epoch: int | None = None) -> float:
    """The larger gap of weights and activations, at an epoch or at the last one that has it."""
    curves = [result.curves[name] for name in GAPS if name in result.curves]
    found = [curve.get(max(curve) if epoch is None else epoch, math.nan) for curve in curves]
    return max((value for value in found if not math.isnan(value)), default=math.nan)


def gap(group: Group) -> float:
    """The mean of seeds of the larger gap, as a share of what is deployed; nan if not measured."""
    found = pd.Series([gap_at(result) for result in group.done.values()], dtype=float).dropna()
    return float(found.mean()) if len(found) else math.nan


def decibels(share: float) -> float:
    """A squared ratio in dB; minus infinity for 0."""
    return 10 * math.log10(share) if share > 0 else -math.inf


def class_of(group: Group) -> Class:
    """How a row trains, by its gap and by how its gradient agrees with its own forward."""
    size = gap(group)
    if size == 0:
        return "hard forward"
    own = measured(group, "gradient/self_consistency")
    gain = measured(group, "gradient/self_consistency_gain")
    if math.isnan(size) or not own.n or not gain.n:
        return "not measured"
    exact = own.mean >= EXACT_COSINE and abs(gain.mean - 1) <= EXACT_GAIN
    return "soft forward, exact backward" if exact else "soft forward, modified backward"


def diagnosed(comparison: Comparison, setting: Setting, *names: str) -> list[Group]:
    """The quantized rows of a setting of which any of the names was measured."""
    found = (comparison.groups.get((label, setting)) for label in comparison.labels)
    return [
        group
        for group in found
        if group is not None
        and not group.is_float
        and any(name in result.final for result in group.done.values() for name in names)
    ]
