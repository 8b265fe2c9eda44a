"""Rows around a row: one of its settings changed, or one of its method's components left out."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qbench import registry
from qbench.errors import unknown
from qbench.study.ablations import Ablation
from qbench.study.names import checked
from qbench.study.row import Row, checked_training
from qbench.study.schema import Component, options_text
from qbench.study.sentences import SettingError, SettingPath, show
from qbench.study.training_settings import merged

__all__ = ["base_row", "changed", "variants"]


@dataclass(frozen=True)
class Change:
    """One thing that a variant has otherwise than its row."""

    settings: Mapping[str, Any]
    """Dotted keys of the row, with their values."""
    path: SettingPath
    """Where the study says it."""
    component: str = ""
    """What is left out by it; empty where a setting is varied."""


def base_row(rows: Iterable[Row], name: str, path: SettingPath) -> Row:
    """The row that an ablation names, by its label or by its quantizer.

    Raises:
        SettingError: There is none, or more than one.
    """
    rows = list(rows)
    for row in rows:
        if row.label == name:
            return row
    found = [row for row in rows if row.quantizer.name == name]
    if len(found) > 1:
        labels = ", ".join(f"'{row.label}'" for row in found)
        raise SettingError(path, f"'{name}' stands for several rows; name one of {labels}")
    if not found:
        names = {name for row in rows for name in (row.label, row.quantizer.name)}
        raise SettingError(path, unknown("row", name, names))
    return found[0]


def variants(row: Row, ablation: Ablation, path: SettingPath) -> Iterator[Row]:
    """One row for each value and each component, or each combination, that is not the row itself.

    Args:
        row: What is varied.
        ablation: The values and components.
        path: Where the study says it.

    Raises:
        SettingError: A key, value or component is refused, or two of them contradict each other.
    """
    factors = [*_varied(ablation, path)]
    removals = [
        _removal(row, name, (*path, "without", i)) for i, name in enumerate(ablation.without)
    ]
    if ablation.cross:
        kept_or_not = [(None, removal) for removal in removals]
        chosen = itertools.product(*factors, *kept_or_not)
        combinations: Iterable[list[Change]] = ([c for c in one if c is not None] for one in chosen)
    else:
        combinations = ([change] for change in itertools.chain(*factors, removals))
    for changes in combinations:
        variant = row
        for change in changes:
            _check_apart(change, changes)
            for key, value in change.settings.items():
                variant = changed(variant, key, value, change.path)
        if (variant.quantizer, variant.training) != (row.quantizer, row.training):
            yield _named(variant, changes, path)


def _varied(ablation: Ablation, path: SettingPath) -> Iterator[list[Change]]:
    for key, values in ablation.vary.items():
        place = (*path, "vary", key)
        if not values:
            raise SettingError(place, "[] varies nothing; give one value or more")
        yield [Change({key: value}, (*place, index)) for index, value in enumerate(values)]


def _removal(row: Row, component: str, path: SettingPath) -> Change:
    """What leaves a component of the row's method out."""
    method = row.quantizer.name
    declared = registry.quantizers.entry(method).facts.get("components")
    if not isinstance(declared, dict) or not declared:
        raise SettingError(
            path[:-1], f"'{method}' declares no components; change its options with 'vary'"
        )
    if component not in declared:
        raise SettingError(path, unknown(f"component of '{method}'", component, declared))
    settings = {f"options.{name}": value for name, value in declared[component].items()}
    without = row
    for key, value in settings.items():
        without = changed(without, key, value, path)
    if without == row:
        raise SettingError(
            path,
            f"'{row.label}' has no '{component}'; leave it out of 'without', or name another row",
        )
    return Change(settings, path, component)


def _check_apart(change: Change, others: Iterable[Change]) -> None:
    """No two changes of a combination give one setting two values."""
    for other in others:
        for key in change.settings.keys() & other.settings.keys():
            if change.settings[key] != other.settings[key]:
                raise SettingError(
                    change.path,
                    f"{_words([change])} and {_words([other])} set {key} to "
                    f"{show(change.settings[key])} and to {show(other.settings[key])}, which "
                    "cannot be combined; leave 'cross' out",
                )


def _named(row: Row, changes: list[Change], path: SettingPath) -> Row:
    values = [change for change in changes if not change.component]
    short = {k.partition(".")[2]: v for change in values for k, v in change.settings.items()}
    label = ", ".join(filter(None, (options_text(short), _without(changes))))
    settings = {key: value for change in changes for key, value in change.settings.items()}
    return replace(
        row, label=f"{row.label} [{label}]", ablation=_words(changes), path=path, base=row.label,
        changes=tuple(settings.items()),
    )  # fmt: skip


def _words(changes: list[Change]) -> str:
    """``options.gamma=4, without kernel and controller``."""
    values = [change for change in changes if not change.component]
    settings = {key: value for change in values for key, value in change.settings.items()}
    return ", ".join(filter(None, (options_text(settings), _without(changes))))


def _without(changes: list[Change]) -> str:
    names = [change.component for change in changes if change.component]
    return f"without {' and '.join(names)}" if names else ""


def changed(row: Row, key: str, value: Any, path: SettingPath) -> Row:
    """The row with one dotted key set (``options.…``, ``training.…``).

    Args:
        row: The row.
        key: What is set.
        value: To what.
        path: Where the value stands in the study.

    Raises:
        SettingError: There is no such key, or it refuses the value.
    """
    group, *rest = key.split(".")
    if not all(rest) or not rest or group not in ("options", "training"):
        raise SettingError(
            path[:-1], f"{show(key)} cannot be varied; write options.… or training.…"
        )
    try:
        if group == "options":
            options = row.quantizer.options | {".".join(rest): value}
            quantizer = checked(
                registry.quantizers, Component(name=row.quantizer.name, options=options), path
            )
            return replace(row, quantizer=quantizer)
        nested = value
        for part in reversed(rest):
            nested = {part: nested}
        base = row.training.model_dump(mode="json")
        return replace(row, training=checked_training(merged(base, nested), path))
    except SettingError as error:
        raise SettingError(path, error.sentence) from None
