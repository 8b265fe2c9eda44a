"""The comparison of a study: its rows and settings, with values by seed, and who is best where."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from qbench.errors import UsageError, unknown
from qbench.reporting.collect import ACCURACY, CURVES, TrialResult, collect, median
from qbench.reporting.searches import Searches, Stored
from qbench.reporting.statistics import Estimate, estimate, paired_difference
from qbench.reporting.traces import Traces
from qbench.study.plan import Cell, Plan
from qbench.study.trial import Trial
from qbench.tuning.tuner import UNTUNED

__all__ = ["Comparison", "Group", "Setting", "by_seed", "setting_of"]


DEFAULT_BASELINE = "ste"
"""The method that every other one claims to beat."""


class Setting(NamedTuple):
    """A column of the comparison; seeds are replicates inside it."""

    model: str
    data: str
    bits: str


@dataclass(frozen=True)
class Group:
    """The trials of one row in one setting, by seed."""

    label: str
    setting: Setting
    results: Mapping[int, TrialResult]
    is_float: bool = False
    ablation: str = ""
    _kept: dict[Hashable, pd.Series] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Hashable, read: Callable[[], pd.Series]) -> pd.Series:
        """What ``read`` finds, which is called the first time only: tables ask for one thing often.

        Args:
            key: Stands for what is read.
            read: Reads it of this group.
        """
        if key not in self._kept:
            self._kept[key] = read()
        return self._kept[key]

    @cached_property
    def done(self) -> dict[int, TrialResult]:
        """The trials that have a result."""
        return {seed: found for seed, found in self.results.items() if found.state == "done"}

    @property
    def problems(self) -> Counter[str]:
        """How many seeds have no result, by reason."""
        found = (result for _, result in sorted(self.results.items()))
        return Counter(result.short_reason for result in found if result.state != "done")

    def values(self, name: str, scale: float = 1.0) -> pd.Series:
        """The last value of a history by seed, times ``scale``; seeds without it are left out."""

        def read() -> pd.Series:
            finals = {seed: result.final for seed, result in self.done.items()}
            found = {seed: own[name][1] * scale for seed, own in finals.items() if name in own}
            return by_seed(found)

        return self.once((name, scale), read)

    @cached_property
    def accuracy(self) -> pd.Series:
        """Deployed test accuracy in percent, by seed."""
        return self.values(ACCURACY, 100.0)

    @cached_property
    def accuracy_estimate(self) -> Estimate:
        """The mean deployed test accuracy in percent."""
        return estimate(self.accuracy.tolist())

    def best_validation(self) -> pd.DataFrame:
        """The highest validation accuracy (a share) of each seed, and the first epoch with it."""
        curves = {seed: found.curves.get(CURVES[0]) for seed, found in sorted(self.done.items())}
        best = {
            seed: max(curve.items(), key=lambda point: (point[1], -point[0]))
            for seed, curve in curves.items()
            if curve
        }
        return pd.DataFrame(best.values(), columns=["epoch", "accuracy"], index=list(best))

    def seconds(self, phase: str) -> pd.Series:
        """Wall time of a phase by seed."""

        def read() -> pd.Series:
            found = {seed: result.seconds.get(phase) for seed, result in self.done.items()}
            return by_seed({seed: spent or None for seed, spent in found.items()})

        return self.once(("seconds", phase), read)


def by_seed(values: Mapping[int, float | None]) -> pd.Series:
    """Values in the order of their seeds; those that are missing or no number are left out."""
    known = sorted((s, v) for s, v in values.items() if v is not None and not math.isnan(v))
    return pd.Series([v for _, v in known], [s for s, _ in known], dtype=float)


def setting_of(trial: Trial) -> Setting:
    """The setting of a trial, with the options of its model and data set in their names."""
    return Setting(
        trial.model.label,
        trial.data.label,
        str(trial.bits),
    )


class Comparison:
    """A study's plan beside what its result files say."""

    def __init__(self, plan: Plan, results: Path) -> None:
        """Read the files of every trial of the plan.

        Raises:
            UsageError: The study's baseline is no row of it.
        """
        self.plan, self._results = plan, results
        self.traces = Traces(results)
        shown = [*plan.needed, *(cell.trial for cell in plan.cells)]
        self.trials = collect({trial.name: trial for trial in shown}.values(), results)
        self.settings = self._settings()
        self.groups = {
            (group.label, group.setting): group
            for row in self._cells_by_row().values()
            for group in self._row_groups(row)
        }
        self.floats = self._floats()
        self.baseline = self._baseline()
        self._marked: dict[Setting, list[Group]] = {}

    def _settings(self) -> list[Setting]:
        cells = self.plan.cells
        seen = dict.fromkeys(setting_of(cell.trial) for cell in cells if not cell.is_float)
        pairs = {setting[:2] for setting in seen}
        alone = (setting_of(cell.trial) for cell in cells if cell.is_float)
        seen |= dict.fromkeys(setting for setting in alone if setting[:2] not in pairs)
        models = list(dict.fromkeys(setting.model for setting in seen))
        data = list(dict.fromkeys(setting.data for setting in seen))
        bits = [str(bits) for bits in self.plan.study.bits]
        return sorted(
            seen,
            key=lambda setting: (
                models.index(setting.model),
                data.index(setting.data),
                bits.index(setting.bits) if setting.bits in bits else len(bits),
            ),
        )

    def _cells_by_row(self) -> dict[str, list[Cell]]:
        rows: dict[str, list[Cell]] = {}
        for cell in self.plan.cells:
            rows.setdefault(cell.label, []).append(cell)
        return rows

    def _row_groups(self, cells: list[Cell]) -> Iterable[Group]:
        first = cells[0]
        by_setting: dict[Setting, dict[int, list[TrialResult]]] = {}
        for cell in cells:
            own = setting_of(cell.trial)
            places = self._same_pair(own) if cell.is_float else [own]
            for setting in places:
                found = by_setting.setdefault(setting, {})
                found.setdefault(cell.seed, []).append(self.trials[cell.trial.name])
        for setting, rounds in by_setting.items():
            medians = {seed: median(results) for seed, results in rounds.items()}
            yield Group(first.label, setting, medians, first.is_float, first.ablation)

    def _same_pair(self, setting: Setting) -> list[Setting]:
        return [other for other in self.settings if other[:2] == setting[:2]]

    def _floats(self) -> dict[tuple[str, str], Group]:
        found: dict[tuple[str, str], Group] = {}
        for group in self.groups.values():
            if group.is_float and not group.ablation:
                found.setdefault(group.setting[:2], group)
        needed: dict[Setting, dict[int, TrialResult]] = {}
        seeds = {cell.seed for cell in self.plan.cells}
        for trial in self.plan.needed:
            if trial.seed not in seeds:
                continue  # a start of a row with other seeds than the study's
            results = needed.setdefault(setting_of(trial), {})
            results[trial.seed] = self.trials[trial.name]
        for setting, results in needed.items():
            found.setdefault(setting[:2], Group("float", setting, results, is_float=True))
        return found

    def _baseline(self) -> str | None:
        shown = [cell for cell in reversed(self.plan.cells) if cell.ablation != UNTUNED]
        names = {cell.trial.quantizer.name: cell.label for cell in shown}
        wanted = self.plan.study.report.baseline
        if wanted is None:
            return names.get(DEFAULT_BASELINE)
        label = wanted if wanted in self.labels else names.get(wanted)
        if label is None and self.plan.open:
            return None  # no search has chosen for it yet
        if label is None:
            raise UsageError(f"report.baseline: {unknown('row', wanted, self.labels)}")
        return None if self.is_float(label) else label

    @cached_property
    def searches(self) -> Searches:
        """What tuned the rows; empty where nothing did."""
        return Searches(self.plan, Stored(self._results))

    def is_float(self, label: str) -> bool:
        """Whether a row is a float network."""
        return any(cell.is_float for cell in self.plan.cells if cell.label == label)

    @cached_property
    def labels(self) -> list[str]:
        """The rows of the comparison in the study's order, ablations left out."""
        return list(dict.fromkeys(cell.label for cell in self.plan.cells if not cell.ablation))

    @cached_property
    def ablations(self) -> dict[str, tuple[str, str | None]]:
        """Label of each ablation row to its factor and the row that it varies."""
        found: dict[str, tuple[str, str | None]] = {}
        for cell in self.plan.cells:
            if cell.ablation not in ("", UNTUNED) and cell.label not in found:
                bases = [base for base in self.labels if cell.label.startswith(f"{base} [")]
                found[cell.label] = (cell.ablation, max(bases, key=len, default=None))
        return found

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of model and data set, in order."""
        return list(dict.fromkeys((setting.model, setting.data) for setting in self.settings))

    def float_of(self, setting: Setting) -> Group | None:
        """The study's own float network of the same model and data set."""
        return self.floats.get((setting.model, setting.data))

    def drop(self, group: Group) -> Estimate:
        """Float minus ``group``, in points of deployed test accuracy, paired by seed."""
        reference = self.float_of(group.setting)
        empty = pd.Series(dtype=float)
        return paired_difference(empty if reference is None else reference.accuracy, group.accuracy)

    def minus_baseline(self, group: Group) -> Estimate:
        """``group`` minus the baseline's row in its setting, in points, paired by seed."""
        other = self.groups.get((str(self.baseline), group.setting))
        empty = pd.Series(dtype=float)
        return paired_difference(group.accuracy, empty if other is None else other.accuracy)

    def competitors(self, setting: Setting) -> list[Group]:
        """The quantized rows of a setting with any result, best mean first."""
        found = (self.groups.get((label, setting)) for label in self.labels)
        groups = [
            group
            for group in found
            if group is not None and not group.is_float and group.accuracy_estimate.n
        ]
        return sorted(groups, key=lambda group: -group.accuracy_estimate.mean)

    def errors_to_lose(self, setting: Setting) -> float:
        """Standard errors that a row must lie below the best to be told from it there."""
        groups = self._compared(setting)
        return groups[0].accuracy_estimate.errors_to_differ(len(groups) - 1)

    def _compared(self, setting: Setting) -> list[Group]:
        return [g for g in self.competitors(setting) if g.accuracy_estimate.has_interval]

    def marked(self, setting: Setting) -> list[Group]:
        """The best row of a setting and those that cannot be told from it, the best first.

        Which rows differ from the best is corrected for their number, so that the truly best one
        is among them in 95 % of studies. Empty where fewer than two rows have seeds enough. A row
        whose paired difference from the best has no interval cannot be told from it.
        """
        if setting not in self._marked:
            groups = self._compared(setting)
            best = groups[:1]
            self._marked[setting] = (best if len(groups) > 1 else []) + [
                group
                for group in groups[1:]
                if not paired_difference(best[0].accuracy, group.accuracy).differs(len(groups) - 1)
            ]
        return self._marked[setting]
