"""The plan of a study: its cells, the trials that they need, and what is left out and why."""

from dataclasses import dataclass

from qbench.study.schema import Study
from qbench.study.trial import Trial

__all__ = ["Cell", "Excluded", "Plan"]


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
class Plan:
    """What a study runs."""

    study: Study
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...] = ()
    needed: tuple[Trial, ...] = ()
    """Float trials that no row asks for, but that others start from."""

    def trials(self) -> dict[str, Trial]:
        """Every trial once, by name; those that others start from come first."""
        every = [*self.needed, *(cell.trial for cell in self.cells)]
        every.sort(key=lambda trial: trial.needs is not None)
        return {trial.name: trial for trial in every}
