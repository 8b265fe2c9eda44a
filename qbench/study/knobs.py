"""The knobs of each row: which of its settings a search sets, and to what."""

import json
from typing import Any

from qbench import registry
from qbench.errors import unknown
from qbench.study.row import Row
from qbench.study.schema import Study
from qbench.study.sentences import SettingError, SettingPath
from qbench.study.spaces import Choices, Space, read_space
from qbench.study.variants import changed

__all__ = ["check_tuning", "knobs", "own_value"]


def own_value(row: Row, key: str) -> Any:
    """What a dotted key of a row is set to where no search sets it."""
    group, _, rest = key.partition(".")
    if group == "options":
        declared = registry.quantizers.entry(row.quantizer.name).options
        default = declared[rest][1] if rest in declared else None
        return row.quantizer.options.get(rest, default)
    value: Any = row.training.model_dump(mode="json")
    for name in rest.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def knobs(study: Study, row: Row) -> dict[str, Space]:
    """Each knob of a row with its space: the shared ones, then the method's own.

    Raises:
        SettingError: A key or a space is refused, or there is nothing to search.
    """
    tuning = study.tuning
    assert tuning is not None
    facts = registry.quantizers.entry(row.quantizer.name).facts.get("search", {})
    written = {f"options.{name}": value for name, value in dict(facts).items()}
    places: dict[str, SettingPath] = {key: ("tuning", "recipe", key) for key in tuning.recipe}
    places |= dict.fromkeys(written, row.path)
    for name in dict.fromkeys((row.quantizer.name, row.label)):
        own = tuning.spaces.get(name, {})
        written |= own
        places |= {key: ("tuning", "spaces", name, key) for key in own}
    found: dict[str, Space] = {}
    for key, value in (tuning.recipe | written).items():
        if value is not None:
            space = read_space(value, own_value(row, key), places[key])
            _try_ends(row, key, space, places[key])
            found[key] = space
    if not any(len(space.points(2)) > 1 for space in found.values()):
        raise SettingError(
            ("tuning",),
            f"the row '{row.label}' has nothing to search; give it a space under "
            f"tuning.spaces: {{{json.dumps(row.label)}: {{options.…: …}}}}, or knobs under recipe",
        )
    return found


def _try_ends(row: Row, key: str, space: Space, path: SettingPath) -> None:
    """Refuse a key, or a value of its space, that the row cannot be given."""
    values = space.values if isinstance(space, Choices) else (space.low, space.high)
    for value in values:
        changed(row, key, value, (*path, 0))


def check_tuning(study: Study, rows: list[Row]) -> None:
    """Check what a study says about tuning against its rows.

    Raises:
        SettingError: Something that the user can mend.
    """
    tuning = study.tuning
    if tuning is None:
        return
    names = {name for row in rows for name in (row.label, row.quantizer.name)}
    for name in tuning.spaces:
        if name not in names:
            raise SettingError(("tuning", "spaces", name), unknown("row", name, names))
    if not study.data.validation:
        raise SettingError(
            ("data", "validation"),
            "0 held-out images cannot judge a search; hold out some, such as 5000",
        )
    shared = sorted(set(tuning.seeds()) & set(study.seeds))
    if shared:
        raise SettingError(
            ("tuning", "seed"),
            f"seed {shared[0]} is one of the final runs' seeds too; choose numbers that they do "
            "not have",
        )
    for row in rows:
        if not row.ablation:
            knobs(study, row)
