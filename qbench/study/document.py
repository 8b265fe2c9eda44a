"""A study file as plain values, each with the line or the override that it comes from."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from qbench.errors import UsageError
from qbench.study.sentences import SettingError, SettingPath, show

__all__ = ["Document", "check_plain", "parse", "read_document"]

DEEPEST = 20
"""Levels of nesting in a study; more is a loop of YAML aliases."""


@dataclass
class Document:
    """Plain values: mappings with text keys, lists, text, numbers, true, false, null."""

    file: str
    values: dict[str, Any]
    origins: dict[SettingPath, str] = field(default_factory=dict)
    """Where a setting was written: ``studies/x.yaml, line 3``."""

    def located(self, error: SettingError) -> UsageError:
        """The error with the place of its setting, or of the nearest one around it."""
        path = error.path
        while path and path not in self.origins:
            path = path[:-1]
        return UsageError(f"{self.origins.get(path, self.file)}: {error}")


def read_document(path: Path) -> Document:
    """Read a study file.

    Raises:
        UsageError: It cannot be read, or is not a YAML mapping of plain values.
    """
    name = str(path)
    text = _read(path)
    values = parse(text, name)
    if values is None:
        raise UsageError(f"{name}: the study file is empty; studies/README.md shows what goes in")
    if not isinstance(values, dict):
        found = "a list" if isinstance(values, list) else "a single value"
        raise UsageError(
            f"{name}: a study is a group of 'key: value' settings, not {found}; "
            "studies/README.md shows one"
        )
    document = Document(name, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = _yaml().compose(text)
    for place, line in _lines(root, ()):
        document.origins.setdefault(place, f"{name}, line {line}")
    try:
        check_plain(values, ())
    except SettingError as error:
        raise document.located(error) from None
    return document


def parse(text: str, name: str) -> Any:
    """The values of a YAML 1.2 text.

    Args:
        text: One YAML document.
        name: What it is called in messages.

    Raises:
        UsageError: It is not YAML.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is used twice is no fault
            return _yaml().load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise UsageError(f"{name}{line}: this is not YAML: {problem}") from None
    except RecursionError:
        raise UsageError(f"{name}: this is not a study: it is nested too deeply") from None
    except Exception as error:  # ruamel lets an IndexError out for "!!int" without a number
        problem = " ".join(str(error).split())
        raise UsageError(f"{name}: this is not YAML: {problem}") from None


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # the C parser knows YAML 1.1 only


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no study file '{path}'{_nearby(path)}") from None
    except IsADirectoryError:
        raise UsageError(f"'{path}' is a folder; name a study file{_nearby(path / '*')}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: the file is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"the study file '{path}' cannot be read: {error}") from None


def _nearby(path: Path) -> str:
    try:
        files = sorted(file.name for file in path.parent.glob("*.yaml"))
    except (OSError, ValueError):
        files = []
    return f"; in that folder are: {', '.join(files)}" if files else "; name a .yaml file"


def _lines(node: Node | None, path: SettingPath) -> Iterator[tuple[SettingPath, int]]:
    """Every key's and item's line; the parse before has ruled out loops and depth."""
    if node is None or len(path) > DEEPEST:
        return
    if isinstance(node, MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _lines(value, place)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _lines(value, (*path, index))


def check_plain(value: object, path: SettingPath) -> None:
    """Refuse what YAML can say and a study cannot.

    Raises:
        SettingError: A key that is no text, a date, an infinity, a loop.
    """
    if len(path) > DEEPEST:
        raise SettingError(path[:1], "it is nested too deeply, or an alias holds itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SettingError(path, f"the key {show(key)} is not text; put it in quotes")
            check_plain(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(item, (*path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingError(path, f"{value} is not a finite number")
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise SettingError(path, "the text holds half a character (a surrogate)")
    elif value is not None and not isinstance(value, str | int | float):
        raise SettingError(path, f"{value!r} is a {type(value).__name__}; put it in quotes")
