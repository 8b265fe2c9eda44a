"""The rows of a study's comparison: its quantizers, and the ablations around them."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from qbench import registry
from qbench.errors import unknown
from qbench.study.names import checked
from qbench.study.schema import Ablation, Component, QuantizerEntry, Study, Training, options_text
from qbench.study.sentences import SettingError, SettingPath, refused, show

__all__ = ["Row", "changed", "study_rows"]


@dataclass(frozen=True)
class Row:
    """A row of the report: a quantizer with what the study changes about it."""

    label: str
    quantizer: Component
    activations: Component | None
    training: Training
    path: SettingPath
    """Where the study says it, for messages."""
    ablation: str = ""
    base: str = ""
    """The label of the row that an ablation varies."""
    changes: tuple[tuple[str, Any], ...] = ()
    """What it sets, by dotted key."""

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.quantizer.name == "float"


def study_rows(study: Study) -> list[Row]:
    """The rows in the order of the study, ablations last.

    Raises:
        SettingError: A name, option or recipe is refused, or two rows have one label.
    """
    base = study.training.model_dump(mode="json")
    rows: dict[str, Row] = {}
    for index, entry in enumerate(study.quantizers):
        _add(rows, _row(entry, base, ("quantizers", index)))
    named = list(rows.values())
    for index, ablation in enumerate(study.ablations):
        path: SettingPath = ("ablations", index)
        around = _around(named, ablation.quantizer, (*path, "quantizer"))
        for row in _varied(around, ablation, path):
            _add(rows, row)
    return list(rows.values())


def _add(rows: dict[str, Row], row: Row) -> None:
    if row.label in rows:
        raise SettingError(
            row.path,
            f"two rows have the label '{row.label}'; give each a 'label' of its own, and vary no "
            "value twice",
        )
    rows[row.label] = row


def _row(entry: QuantizerEntry, base: dict[str, Any], path: SettingPath) -> Row:
    quantizer = checked(
        registry.quantizers, Component(name=entry.name, options=entry.options), path
    )
    activations = None
    if entry.activations is not None:
        place = (*path, "activations")
        activations = checked(registry.quantizers, entry.activations, place)
        if entry.name == "float":
            raise SettingError(place, "a float row quantizes no activations; leave this out")
        if activations == quantizer:
            activations = None
    training = _training(_merged(base, entry.training), (*path, "training"))
    label = entry.label or _label(quantizer, activations)
    return Row(label, quantizer, activations, training, path)


def _label(quantizer: Component, activations: Component | None) -> str:
    parts = (quantizer,) if activations is None else (quantizer, activations)
    return " + ".join(part.label for part in parts)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, group by group."""
    merged = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[key] = _merged(inner, value) if both and inner is not None else value
    return merged


def _training(values: dict[str, Any], path: SettingPath) -> Training:
    try:
        return Training.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise refused(error, Training, path=path) from None


def _around(rows: list[Row], name: str, path: SettingPath) -> Row:
    """The row that an ablation names, by its label or by its quantizer."""
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


def _varied(row: Row, ablation: Ablation, path: SettingPath) -> Iterator[Row]:
    """One row for each value, or each combination, that is not the row's own."""
    factors = []
    for key, values in ablation.vary.items():
        place = (*path, "vary", key)
        if not values:
            raise SettingError(place, "[] varies nothing; give one value or more")
        factors.append([(key, value, (*place, index)) for index, value in enumerate(values)])
    single = ((change,) for factor in factors for change in factor)
    for changes in itertools.product(*factors) if ablation.cross else single:
        varied = row
        for key, value, place in changes:
            varied = changed(varied, key, value, place)
        if (varied.quantizer, varied.training) == (row.quantizer, row.training):
            continue
        settings = {key: value for key, value, _ in changes}
        short = {key.partition(".")[2]: value for key, value in settings.items()}
        label = f"{row.label} [{options_text(short)}]"
        yield replace(
            varied, label=label, ablation=options_text(settings), path=path, base=row.label,
            changes=tuple(settings.items()),
        )  # fmt: skip


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
        return replace(row, training=_training(_merged(base, nested), path))
    except SettingError as error:
        raise SettingError(path, error.sentence) from None
