"""Parts of a plan: ``--only EXPRESSION`` and ``--shard i/n``."""

import re
from collections import defaultdict
from dataclasses import replace

from qbench.errors import UsageError
from qbench.study.expand import needed_by
from qbench.study.expressions import Expression
from qbench.study.plan import Cell, Plan

__all__ = ["parse_shard", "select", "shard"]


def select(plan: Plan, expression: str) -> Plan:
    """The cells for which an expression holds, with the float trials that they start from.

    Args:
        plan: The whole plan.
        expression: As in an exclusion's ``where``; see studies/README.md.

    Raises:
        UsageError: It is no expression, or no cell matches it.
    """
    condition = Expression(expression)
    cells = [cell for cell in plan.cells if condition.matches(cell)]
    if not cells:
        labels = ", ".join(dict.fromkeys(cell.label for cell in plan.cells))
        raise UsageError(
            f"no trial matches {expression!r}; the rows of '{plan.study.study}' are: {labels}"
        )
    return _part(plan, cells)


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/4"`` as (2, 4).

    Raises:
        UsageError: It is no such pair.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"'{text}' is no part of a study; write i/n with i from 1 to n, such as 1/4"
        )
    return int(match[1]), int(match[2])


def shard(plan: Plan, index: int, count: int) -> Plan:
    """One of ``count`` parts of a plan, of nearly equal numbers of trials.

    A float trial and all that start from it are in one part, so parts can run at the same time in
    different places. Such groups are dealt out whole, the largest first, each to the part with the
    fewest trials so far; equally large ones in the order of their names. Every part therefore
    comes out the same on every machine that has the same study file and overrides. A part is empty
    where there are fewer groups than parts.

    Args:
        plan: The whole plan, the same for all parts.
        index: Which part, from 1.
        count: How many parts.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, trial in plan.trials().items():
        groups[trial.needs or name].append(name)
    loads = [0] * count
    mine: set[str] = set()
    for _, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        part = loads.index(min(loads))
        loads[part] += len(names)
        if part == index - 1:
            mine.update(names)
    return _part(plan, [cell for cell in plan.cells if cell.trial.name in mine])


def _part(plan: Plan, cells: list[Cell]) -> Plan:
    return replace(plan, cells=tuple(cells), needed=needed_by(cells, plan.trials()))
