"""What pydantic says about settings, as one sentence for whoever wrote them."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qbench.errors import UsageError, unknown

__all__ = ["SettingError", "SettingPath", "refused", "show"]

SettingPath = tuple[str | int, ...]
"""Where a setting stands in a study: ``("quantizers", 0, "options", "backward")``."""

_WANTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text",
    "tuple": "a list", "list": "a list", "dict": "a group of 'key: value' settings",
    "model": "a group of 'key: value' settings",
}  # fmt: skip
_LIMITS = {
    "greater_than": ("gt", "more than"), "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"), "less_than_equal": ("le", "at most"),
}  # fmt: skip


class SettingError(UsageError):
    """A setting that is refused; whoever read the file adds where it was written."""

    def __init__(self, path: SettingPath, sentence: str) -> None:
        """Keep both parts.

        Args:
            path: Where the setting stands in the study.
            sentence: The value, what is allowed, what to do.
        """
        self.path = path
        self.sentence = " ".join(sentence.split())
        where = " ".join(".".join(str(key) for key in path).split())
        super().__init__(f"{where}: {self.sentence}" if where else self.sentence)


def show(value: object) -> str:
    """A value as it is written in a study file, shortened to 60 characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def refused(
    error: ValidationError,
    model: type[BaseModel] | None = None,
    *,
    path: SettingPath = (),
    kind: str = "setting",
    names: Iterable[str] = (),
) -> SettingError:
    """The most telling of the errors that a validation found.

    Args:
        error: What pydantic raised.
        model: The settings that were validated, for the names that they know.
        path: Where the validated value stands in the study.
        kind: What a key of it is called in a sentence.
        names: The keys that are allowed, in place of those of ``model``.
    """
    first = min(error.errors(include_url=False), key=_rank)
    where = first["loc"]
    if first["type"] == "extra_forbidden":
        names = [*names, *(_settings_at(model, where[:-1]) if model else ())]
        return SettingError(path + where, unknown(kind, where[-1], names))
    sentence = _sentence(first)
    group = _settings_at(model, where) if model and first["type"].startswith("model") else ()
    return SettingError(path + where, sentence + (f"; its keys: {', '.join(group)}" * bool(group)))


def _rank(error: ErrorDetails) -> tuple[int, int]:
    """A misspelt key explains a missing one; a wrong item makes its list look too short."""
    order = {"extra_forbidden": 0, "too_short": 2}
    return order.get(error["type"], 1), -len(error["loc"])


def _settings_at(model: type[BaseModel], where: SettingPath) -> list[str]:
    """The keys of the group of settings at a path below ``model``."""
    for key in where:
        if isinstance(key, str) and key in model.model_fields:
            model = next(_models(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _sentence(error: ErrorDetails) -> str:
    kind, value = error["type"], show(error["input"])
    context = error.get("ctx", {})
    if kind == "missing":
        return "it is needed, and missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return unknown("choice", error["input"], re.findall(r"'([^']*)'", context["expected"]))
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"{value} is not allowed; write {words} {context[key]:g}"
    if kind == "too_short":
        return f"{value} is too short; give {context['min_length']} or more"
    if kind == "too_long":
        return f"{value} is too long; give at most {context['max_length']}"
    if kind == "string_pattern_mismatch":
        return f"{value} does not fit; write letters, digits, '_', '-', '.', no sign first"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted is not None:
        return f"write {wanted} in place of {value}"
    return f"{value} is refused: {error['msg']}"
