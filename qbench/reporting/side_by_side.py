"""Two studies beside each other: what they say of the same rows and settings, and what differs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.document import Entry, Heading, Items, Part, Table, Text
from qbench.reporting.facts import flat
from qbench.reporting.files import frames_written, parts_written, writing
from qbench.reporting.long import long_results
from qbench.reporting.markdown import render_terminal
from qbench.reporting.numbers import NOTHING, interval
from qbench.reporting.stamp import Report
from qbench.reporting.statistics import MINIMUM_SEEDS, Estimate, paired_difference
from qbench.reporting.tables import accuracy_entry, place
from qbench.study.plan import Plan

__all__ = ["write_side_by_side"]

NO_RECIPE = ("study", "question", "report", "tracking", "resources", "quantizers", "diagnostics")
"""Settings that change no number of a row, or that the table itself shows."""


class _Two(NamedTuple):
    first: Comparison
    second: Comparison

    @property
    def names(self) -> tuple[str, str]:
        """The studies' names; numbered where two files call themselves alike."""
        first, second = (one.plan.study.study for one in self)
        return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")


def write_side_by_side(
    plans: tuple[Plan, Plan], results: Path, folder: Path, formats: tuple[str, ...]
) -> Report:
    """Write what two studies say of the rows and settings of either.

    Args:
        plans: The studies' plans.
        results: The store that holds the results of both.
        folder: Where to.
        formats: Of those in ``report.formats``.

    Raises:
        UsageError: A study's baseline is no row of it, or the folder cannot be written.
    """
    two = _Two(*(Comparison(plan, results) for plan in plans))
    tables = list(_tables(two))
    answer = _headline(two)
    parts = [*_head(two, answer), *tables]
    long = [long_results(one).assign(study=name) for one, name in zip(two, two.names, strict=True)]
    title = " beside ".join(two.names)
    with writing(folder):
        written = [*parts_written(folder, parts, formats, title)]
        written += frames_written(folder, {"results": pd.concat(long)}, formats)
    return Report(folder, render_terminal(tables), answer, tuple(sorted(written)))


def _head(two: _Two, answer: str) -> Iterator[Part]:
    yield Heading(" beside ".join(two.names), level=1)
    yield Items(tuple(f"{n}: {c.plan.study.question}" for n, c in zip(two.names, two, strict=True)))
    yield Text(answer, strong=True)
    changed = list(_changed(two))
    if changed:
        yield Text("The studies differ in settings that may change every row:")
        yield Items(tuple(changed))
    else:
        yield Text("Both studies have the same settings.")


def _changed(two: _Two) -> Iterator[str]:
    settings = [_settings(one.plan) for one in two]
    for name in dict.fromkeys([*settings[0], *settings[1]]):
        values = [json.dumps(own[name]) if name in own else "nothing" for own in settings]
        if values[0] != values[1]:
            yield f"{name}: {values[0]} in {two.names[0]}, {values[1]} in {two.names[1]}"


def _settings(plan: Plan) -> Mapping[str, Any]:
    whole = plan.study.model_dump(mode="json", exclude=set(NO_RECIPE))
    return flat(whole)


def _shared(two: _Two) -> list[tuple[str, Setting]]:
    return [
        key
        for key, group in two.first.groups.items()
        if group.accuracy_estimate.n
        and key in two.second.groups
        and two.second.groups[key].accuracy_estimate.n
    ]


def _headline(two: _Two) -> str:
    shared = _shared(two)
    if not shared:
        return "The studies share no row and setting in which both have a result."
    found = {key: _difference(two.first.groups[key], two.second.groups[key]) for key in shared}
    apart = [key for key, one in found.items() if one is not None and one.excludes_zero]
    same = sum(one is None for one in found.values())
    words = f"The studies share {len(shared)} cells; in {len(apart)} the interval of their "
    words += "difference, paired by seed, excludes 0"
    return f"{words}; {same} are the same trials." if same else f"{words}."


def _difference(first: Group, second: Group) -> Estimate | None:
    """Second minus first by seed; nothing where both are the same trials."""
    names = [{r.trial.name for r in group.done.values()} for group in (first, second)]
    return None if names[0] == names[1] else paired_difference(second.accuracy, first.accuracy)


def _tables(two: _Two) -> Iterator[Table]:
    settings = dict.fromkeys([*two.first.settings, *two.second.settings])
    for number, setting in enumerate(settings, 1):
        labels = dict.fromkeys(
            label
            for one in two
            for label, at in one.groups
            if at == setting and label in one.labels
        )
        rows = [(label, _entries(two, label, setting)) for label in labels]
        first, second = two.names
        yield Table(
            f"beside-{number}",
            f"Deployed test accuracy in percent, mean ± standard deviation (seeds): "
            f"{place(setting)}.",
            "quantizer",
            [(first,), (second,), ("difference (points)",)],
            rows,
            f"Difference: {second} minus {first}, paired by seed; brackets: 95 % t interval, where "
            f"both have {MINIMUM_SEEDS} or more seeds; bold: the interval excludes 0.",
        )


def _entries(two: _Two, label: str, setting: Setting) -> list[Entry]:
    groups = [one.groups.get((label, setting)) for one in two]
    entries = [accuracy_entry(group) for group in groups]
    first, second = groups
    if first is None or second is None:
        return [*entries, Entry(NOTHING)]
    found = _difference(first, second)
    if found is None:
        return [*entries, Entry("the same trials", value=0.0)]
    value = found.mean if found.n else None
    return [*entries, Entry(interval(found, sign=True), bold=found.excludes_zero, value=value)]
