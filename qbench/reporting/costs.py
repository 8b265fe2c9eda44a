"""What result files say of costs, by seed; trials made before a cost was recorded are left out."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from qbench.reporting.collect import TrialResult
from qbench.reporting.compare import Comparison, Group, by_seed

__all__ = [
    "counted", "deployed_bytes", "diagnostics_share", "peak_memory", "ratio_to_float",
    "relative_time",
]  # fmt: skip

DIAGNOSING = "diagnose"


def counted(group: Group, name: str) -> pd.Series:
    """A member of the group ``cost`` in ``audit.json``, by seed."""
    read = partial(_counted, name)
    return group.once(("cost", name), partial(_by_seed, group, read))


def _counted(name: str, result: TrialResult) -> float | None:
    return _member(result.audit.get("cost"), name)


def deployed_bytes(group: Group) -> pd.Series:
    """Bytes of codes, codebooks and what stayed float in the deployed file, by seed."""

    def size(result: TrialResult) -> float | None:
        parts = [_member(result.audit, name) for name in ("coded_bytes", "float_bytes")]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    return group.once("deployed bytes", partial(_by_seed, group, size))


def peak_memory(group: Group) -> pd.Series:
    """Peak memory in bytes, by seed; on a CPU the whole process's, libraries included.

    A peak that a worker's earlier trials may have reached is left out: it grows with their number.
    """

    def peak(result: TrialResult) -> float | None:
        found = result.environment
        own = found.get("peak_memory_is_own", found.get("device") != "cpu")
        return _member(found, "peak_memory_bytes") if own else None

    return group.once("peak memory", partial(_by_seed, group, peak))


def diagnostics_share(group: Group) -> pd.Series:
    """The share of a trial's wall time that went into diagnostics, by seed."""

    def share(result: TrialResult) -> float | None:
        total = math.fsum(result.seconds.values())
        spent = [s for phase, s in result.seconds.items() if phase.split("/")[0] == DIAGNOSING]
        return math.fsum(spent) / total if total > 0 else None

    return group.once("diagnostics share", partial(_by_seed, group, share))


def relative_time(comparison: Comparison, group: Group) -> pd.Series:
    """Seconds of training over those of the study's own float network, paired by seed.

    A pair counts only where both trained on the same kind of machine and device, with as many
    threads.
    """
    return group.once("relative time", partial(_relative_time, comparison, group))


def _relative_time(comparison: Comparison, group: Group) -> pd.Series:
    reference = comparison.float_of(group.setting)
    if reference is None:
        return pd.Series(dtype=float)
    ratio = (group.seconds("train") / reference.seconds("train")).dropna()
    same = [_place(group.done[seed]) == _place(reference.done[seed]) for seed in ratio.index]
    return ratio[same]


def ratio_to_float(
    comparison: Comparison, group: Group, read: Callable[[Group], pd.Series]
) -> float | None:
    """The mean of what ``read`` finds, over the float network's mean; nothing where one lacks."""
    reference = comparison.float_of(group.setting)
    if reference is None:
        return None
    own, floats = read(group), read(reference)
    if own.empty or floats.empty or floats.mean() <= 0:
        return None
    return float(own.mean() / floats.mean())


def _by_seed(group: Group, read: Callable[[TrialResult], float | None]) -> pd.Series:
    return by_seed({seed: read(result) for seed, result in group.done.items()})


def _member(values: object, name: str) -> float | None:
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _place(result: TrialResult) -> tuple[Any, ...]:
    found = result.environment
    machine = found.get("machine")
    parts = machine if isinstance(machine, Mapping) else {}
    return (
        *(str(parts.get(name)) for name in ("processor", "cores")),
        *(str(found.get(name)) for name in ("device", "threads")),
    )
