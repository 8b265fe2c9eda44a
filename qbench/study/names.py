"""Registered names and their options, checked without importing what they stand for."""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qbench.errors import UsageError, unknown
from qbench.registry import Entry, Registry
from qbench.study.schema import Component
from qbench.study.sentences import SettingError, SettingPath, refused

__all__ = ["bit_ranges", "checked", "find", "space_words", "torchvision_models"]


def find(registry: Registry, name: str, path: SettingPath) -> Entry:
    """The declaration of a name.

    Args:
        registry: Where the name is looked up.
        name: What the study says.
        path: Where the study says it.

    Raises:
        SettingError: There is none.
    """
    try:
        entry = registry.entry(name)
    except UsageError as error:
        raise SettingError(path, str(error)) from None
    if entry.name != name or name.endswith("/*"):
        family, _, member = name.partition("/")
        example = next(iter(entry.facts.get("members", ("resnet18",))))
        if member in ("", "*"):
            raise SettingError(
                path, f"'{name}' is a family; name one of it, such as '{family}/{example}'"
            )
        if family == "torchvision" and member not in torchvision_models():
            sentence = unknown("torchvision model", member, torchvision_models())
            raise SettingError(path, sentence)
    return entry


def checked(registry: Registry, component: Component, path: SettingPath) -> Component:
    """The component with those options left out that equal their default.

    Args:
        registry: Where its name is looked up.
        component: What the study says.
        path: Where the study says it.

    Raises:
        SettingError: There is no such name or option, or an option has a wrong value.
    """
    entry = find(registry, component.name, path)
    try:
        options = entry.check_options(component.options)
    except ValidationError as error:
        kind = f"'{entry.name}' option"
        raise refused(error, path=(*path, "options"), kind=kind, names=entry.options) from None
    return Component(name=component.name, options=options)


def bit_ranges(widths: Iterable[int]) -> str:
    """Bit-widths in few words: ``1, 3-8``; ``none`` where there are none."""
    runs: list[list[int]] = []
    for width in sorted(set(widths)):
        if runs and width == runs[-1][-1] + 1:
            runs[-1].append(width)
        else:
            runs.append([width])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(parts) or "none"


def space_words(space: Any) -> str:
    """What an option is tuned over, in few words: ``1, 2 or 4``; ``1e-05 to 0.01, by its log``."""
    if isinstance(space, Mapping):
        scale = ", by its log" if space.get("log") else ""
        return f"{space['low']:g} to {space['high']:g}{scale}"
    *others, last = (str(value) for value in space)
    return f"{', '.join(others)} or {last}" if others else last


@cache
def torchvision_models() -> frozenset[str]:
    """Names of torchvision's classification models, read from its files.

    Its import takes 17 s on a slow machine; its files say the same in milliseconds.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return frozenset()
    declared = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return frozenset(name for file in files for name in declared.findall(file.read_text("utf-8")))
