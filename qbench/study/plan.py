"""The plan of a study: its cells, the trials that they need, and what is left out and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qbench.study.schema import Study
from qbench.study.trial import Trial

__all__ = ["Attempt", "Cell", "Choice", "Excluded", "Plan"]


@dataclass(frozen=True)
class Cell:
    """A trial in its place in the comparison."""

    trial: Trial
    label: str
    """The row of the report: a quantizer with what the study changes about it."""
    ablation: str = ""
    """What an ablation changes: ``options.backward=clipped``, ``without kernel``; else empty."""
    seed_offset: int = 0
    """What the row adds to the study's seeds."""

    @property
    def seed(self) -> int:
        """The study's seed that the cell stands for, by which rows are paired."""
        return self.trial.seed - self.seed_offset

    round: int = 0
    """The round of tuning that chose its settings, from 1; 0 where nothing was tuned."""

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized; such a cell stands for every bit setting."""
        return self.trial.quantizer.name == "float"


@dataclass(frozen=True)
class Excluded:
    """Cells that an exclusion of the study took out."""

    where: str
    because: str
    count: int


@dataclass(frozen=True)
class Attempt:
    """A trial of a search, in its place there."""

    trial: Trial
    label: str
    """The row that is tuned."""
    round: int
    """From 1."""
    number: int
    """In the search; 0 has the row's own values."""
    settings: Mapping[str, Any]
    """The knobs that differ from the row's own values, by dotted key."""
    last: bool = True
    """Whether it runs to the end of the search's epochs, and not to an earlier rung."""


@dataclass(frozen=True)
class Choice:
    """What one round of tuning chose for a row in a setting."""

    attempt: Attempt
    score: float
    """Validation accuracy, a share; -1 where every trial of the search failed."""


@dataclass(frozen=True)
class Plan:
    """What a study runs."""

    study: Study
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...] = ()
    needed: tuple[Trial, ...] = ()
    """Float trials that no row asks for, but that others start from."""
    attempts: tuple[Attempt, ...] = ()
    """Trials of searches that are known so far."""
    search_starts: tuple[Trial, ...] = ()
    """Float trials that those start from."""
    choices: tuple[Choice, ...] = ()
    """What searches have chosen so far."""
    open: int = 0
    """At most so many trials are not known yet, because searches have not got so far."""
    open_epochs: int = 0
    """At most so many epochs in them."""

    def labels(self) -> dict[str, str]:
        """Each trial's row in the report, or its place in a search, by its name."""
        found: dict[str, dict[str, None]] = {}
        for one in self.attempts:
            label = f"{one.label} [search {one.round}.{one.number}]"
            found.setdefault(one.trial.name, {})[label] = None
        for cell in sorted(self.cells, key=lambda cell: not cell.round):
            own = found.setdefault(cell.trial.name, {})
            if not any(cell.label.startswith(f"{label} [") for label in own):
                own[cell.label] = None  # tuned to its own values, it is no other row
        return {name: " / ".join(labels) for name, labels in found.items()}

    def trials(self) -> dict[str, Trial]:
        """Every trial once, by name; those that others start from come first."""
        attempts = (attempt.trial for attempt in self.attempts)
        finals = (cell.trial for cell in self.cells)
        every = [*self.needed, *self.search_starts, *attempts, *finals]
        every.sort(key=lambda trial: trial.needs is not None)
        return {trial.name: trial for trial in every}
