"""Which diagnostics go with deployed accuracy: rank correlations over runs, with their intervals.

Both are ranked inside a setting (model, data, bits), so that what differs between settings, above
all the bits, explains nothing. The pooled value correlates these ranks over all settings.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qbench.reporting.collect import ACCURACY, TrialResult
from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.diagnosis import gap_at
from qbench.reporting.document import Entry, Table
from qbench.reporting.numbers import NOTHING, fixed
from qbench.reporting.tables import place

__all__ = ["CORRELATED", "MINIMUM_RUNS", "Correlation", "correlation_table", "enough", "spearman"]

Values = npt.NDArray[np.float64]
Block = tuple[Values, Values]

LARGER_GAP = "larger of train-to-deploy gap of weights and activations"
CORRELATED = (
    "discretization/latent_error", "discretization/train_deploy_gap",
    "discretization/activation_gap", LARGER_GAP, "output/accuracy_gap", "output/kl",
    "codes/near_threshold", "codes/entropy", "gradient/self_consistency",
    "gradient/flip_set_r_0.2pct", "gradient/flip_set_r_1pct", "gradient/flip_set_r_5pct",
    "gradient/flip_set_slope_1pct", "gradient/jacobian_alignment_max",
    "gradient/smoothed_alignment_1pct", "gradient/smoothed_alignment_5pct",
    "gradient/descent_ratio_1pct", "gradient/descent_z_1pct", "gradient/signal_to_noise",
    "gradient/latent_norm", "dynamics/flip_rate", "dynamics/oscillation_rate",
    "dynamics/oscillating", "dynamics/flip_efficiency", "gradient/reste_fitting_error",
    "gradient/reste_instability",
)  # fmt: skip
"""What is correlated; chosen beforehand, not by how well it does."""
MINIMUM_RUNS = 5
DRAWS = 1000
MOST_SETTINGS = 4
"""Columns beside the pooled one; the pooled one holds all settings."""


class Correlation(NamedTuple):
    """Spearman's rho with a 95 % bootstrap interval over runs."""

    n: int
    rho: float
    """Not a number where one side is constant."""
    low: float
    high: float


def spearman(blocks: Sequence[Block]) -> Correlation:
    """The correlation of ranks inside blocks, pooled over them; of one block Spearman's rho.

    Args:
        blocks: Pairs of values, ``[n]`` each, with finite numbers. Runs are resampled inside their
            block, 1000 times, always in the same way.
    """
    random = np.random.default_rng(0)
    parts, repeated = [], []
    for x, y in blocks:
        whole = np.ones((1, len(x)))
        resampled = random.multinomial(len(x), [1 / len(x)] * len(x), DRAWS).astype(float)
        parts.append(_moments(x, y, whole))
        repeated.append(_moments(x, y, resampled))
    n = sum(len(x) for x, _ in blocks)
    rho = _ratio(np.sum(parts, axis=0))[0] if parts else math.nan
    if math.isnan(rho):
        return Correlation(n, math.nan, math.nan, math.nan)
    # Without the few runs that differ from the others there is nothing to correlate: 0.
    draws = np.nan_to_num(_ratio(np.sum(repeated, axis=0)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Correlation(n, float(rho), float(low), float(high))


def _moments(x: Values, y: Values, weights: Values) -> Values:
    """Sums of products of centred ranks, ``[3, draws]``; ``weights`` says how often a run counts.

    Ranks are divided by the block's size, so that blocks of every size weigh alike by run.
    """
    first, second = _ranks(x, weights), _ranks(y, weights)
    products = (first * second, first * first, second * second)
    return np.stack([(weights * product).sum(axis=1) for product in products])


def _ranks(values: Values, weights: Values) -> Values:
    """Mean ranks minus their mean, over the size: ``[draws, n]``."""
    order, n = np.argsort(values, kind="stable"), len(values)
    _, first, places = np.unique(values[order], return_index=True, return_inverse=True)
    equal = np.add.reduceat(weights[:, order], first, axis=1)  # of each value that occurs
    below = np.cumsum(equal, axis=1) - equal / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = (below[:, places] - n / 2) / n
    return ranks


def _ratio(moments: Values) -> Values:
    """Correlations from sums; not a number where a side does not vary."""
    both, first, second = moments
    varies = (first > 1e-12) & (second > 1e-12)  # rounding leaves a constant side near 0
    scale = np.sqrt(np.where(varies, first * second, 1.0))
    return np.where(varies, both / scale, np.nan)


def correlation_table(comparison: Comparison) -> Table | None:
    """Every diagnostic that enough runs have, pooled and in the first settings."""
    kept = enough(comparison, comparison.settings)
    if not kept:
        return None
    used = [s for s in comparison.settings if any(s in own for own in kept.values())]
    shown = used[:MOST_SETTINGS] if len(used) > 1 else []
    rows, constant = [], []
    for name, own in kept.items():
        pooled = spearman(list(own.values()))
        if math.isnan(pooled.rho):
            constant.append(name)
            continue
        entries = [_entry(spearman([own[s]]) if s in own else None) for s in shown]
        rows.append((name, [_entry(pooled), *entries]))
    if not rows:
        return None
    counts = [len(block[0]) for own in kept.values() for block in own.values()]
    columns = [("pooled" if len(used) > 1 else place(used[0]),), *((place(s),) for s in shown)]
    notes = _notes(len(used), len(rows), constant)
    return Table(
        "correlations", _caption(min(counts), len(used)), "diagnostic", columns, rows, notes=notes
    )


def _caption(fewest: int, settings: int) -> str:
    pooled = " Pooled: both sides are ranked inside their setting." if settings > 1 else ""
    smallest = 2 / math.factorial(min(fewest, 20))
    return (
        "Spearman's rank correlation of each diagnostic, at its last measurement, with deployed "
        "test accuracy, over runs (trials of quantized rows): value, 95 % bootstrap interval over "
        f"runs, number of runs. With {fewest} runs, the fewest in a setting here, the smallest "
        f"attainable two-sided p of a permutation test is {smallest:.1g}.{pooled}"
    )


def _notes(settings: int, diagnostics: int, constant: Sequence[str]) -> tuple[str, ...]:
    notes = [
        "Runs of one row differ only by their seed, so runs are fewer than they seem as evidence "
        "about methods.",
        f"{diagnostics} diagnostics are shown and no interval is corrected for that; a correlation "
        "is no cause.",
    ]
    if constant:
        notes.append(f"Left out, since they are the same in every run: {', '.join(constant)}.")
    if settings > MOST_SETTINGS:
        notes.append(f"Pooled over {settings} settings, of which {MOST_SETTINGS} stand beside it.")
    return tuple(notes)


def enough(comparison: Comparison, settings: Sequence[Setting]) -> dict[str, dict[Setting, Block]]:
    """Each diagnostic with the deployed accuracy, of the settings in which enough runs have it."""
    compared = [setting for setting in settings if comparison.competitors(setting)]
    blocks = {name: {s: _block(comparison, s, name) for s in compared} for name in CORRELATED}
    kept = {
        name: {s: block for s, block in own.items() if len(block[0]) >= MINIMUM_RUNS}
        for name, own in blocks.items()
    }
    return {name: own for name, own in kept.items() if own}


def _block(comparison: Comparison, setting: Setting, name: str) -> Block:
    results = [r for group in comparison.competitors(setting) for r in group.done.values()]
    pairs = [(_value(result, name), result.final[ACCURACY][1]) for result in results]
    kept = np.array([pair for pair in pairs if math.isfinite(pair[0])]).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def _value(result: TrialResult, name: str) -> float:
    if name == LARGER_GAP:
        return gap_at(result)
    return result.final[name][1] if name in result.final else math.nan


def _entry(found: Correlation | None) -> Entry:
    if found is None:
        return Entry(NOTHING)
    if math.isnan(found.rho):
        return Entry(f"constant ({found.n})", mark="none")
    return Entry(f"{fixed(found.rho)} [{fixed(found.low)}, {fixed(found.high)}] ({found.n})")
