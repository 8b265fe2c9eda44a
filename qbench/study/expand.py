"""From a study to its plan: cells, exclusions, and the float trials that cells start from."""

from collections.abc import Iterable, Mapping

from qbench.errors import UsageError
from qbench.study.expressions import Expression
from qbench.study.grid import Grid
from qbench.study.plan import Cell, Excluded, Plan
from qbench.study.schema import Study
from qbench.study.sentences import SettingError
from qbench.study.trial import Trial

__all__ = ["exclusions", "expand", "needed_by"]


def expand(study: Study) -> Plan:
    """Every cell of a study, what is excluded, and what has to be trained before.

    Args:
        study: As ``load_study`` returns it. Of one made in code, names, options and recipes are
            checked here; what a method's bits are is not.

    Raises:
        UsageError: A setting is refused, or the file of weights to start from cannot be read.
    """
    rules = exclusions(study)
    counts = [0] * len(rules)
    cells = []
    grid = Grid(study)
    for _, cell in grid.cells():
        matching = next((i for i, rule in enumerate(rules) if rule.matches(cell)), None)
        if matching is None:
            cells.append(cell)
        else:
            counts[matching] += 1
    excluded = tuple(
        Excluded(rule.where, rule.because, count)
        for rule, count in zip(study.exclude, counts, strict=True)
    )
    known = {trial.name: trial for trial in grid.floats.values()} if study.start == "float" else {}
    return Plan(study, tuple(cells), excluded, needed_by(cells, known))


def exclusions(study: Study) -> list[Expression]:
    """The conditions of a study's exclusions.

    Raises:
        SettingError: One cannot be parsed.
    """
    rules = []
    for index, rule in enumerate(study.exclude):
        try:
            rules.append(Expression(rule.where))
        except UsageError as error:
            raise SettingError(("exclude", index, "where"), str(error)) from None
    return rules


def needed_by(cells: Iterable[Cell], known: Mapping[str, Trial]) -> tuple[Trial, ...]:
    """The trials that cells start from and that are not cells themselves.

    Args:
        cells: What is to run.
        known: By name, every trial that one of them may start from.
    """
    starts: dict[str, None] = {}
    own: set[str] = set()
    for cell in cells:
        if cell.trial.needs is None:
            own.add(cell.trial.name)
        else:
            starts[cell.trial.needs] = None
    return tuple(known[name] for name in starts if name not in own)
