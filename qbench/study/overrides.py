"""``key=value`` on the command line: one setting of a study by its dotted path."""

from typing import Any

from qbench.errors import UsageError, unknown
from qbench.study.document import Document, check_plain, parse
from qbench.study.sentences import SettingError, SettingPath, show

__all__ = ["override"]


def override(document: Document, text: str) -> None:
    """Set one value of a document.

    Args:
        document: What was read from the study file; changed in place.
        text: ``training.epochs=1``, ``quantizers.0.options.clip=2``, ``seeds=[0,1]``: list items
            by their position from 0, the value in YAML.

    Raises:
        UsageError: It is no ``key=value``, the value is not YAML, or there is no such place.
    """
    origin = f"override '{' '.join(text.split())}'"
    key, equals, written = text.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"{origin}: write key=value, such as training.epochs=1")
    value = parse(written, origin)
    try:
        path = _set(document, keys, value, origin)
        check_plain(value, path)
    except SettingError as error:
        raise UsageError(f"{origin}: {error}") from None


def _set(document: Document, keys: list[str], value: Any, origin: str) -> SettingPath:
    """Walk to the place, making the groups that are missing, and set the value."""
    holder: Any = document.values
    path: SettingPath = ()
    while True:
        key, keys = _next_key(holder, keys, path)
        path = (*path, key)
        if not keys:
            break
        inner = holder[key] if isinstance(key, int) else holder.get(key)
        if inner is None:
            inner = {}
            document.origins[path] = origin
        elif isinstance(inner, str) and _may_be_short(path):
            inner = {"name": inner}
        holder[key] = inner
        holder = inner
    holder[key] = value
    for place in [place for place in document.origins if place[: len(path)] == path]:
        del document.origins[place]
    document.origins[path] = origin
    return path


def _may_be_short(path: SettingPath) -> bool:
    """Whether a name may stand here for ``{name: …}``: a quantizer, model or data set."""
    if path[-1] == "activations":
        return path[0] == "quantizers"
    return isinstance(path[-1], int) and path[0] in ("quantizers", "models", "data")


def _next_key(holder: Any, keys: list[str], path: SettingPath) -> tuple[str | int, list[str]]:
    if isinstance(holder, dict):
        whole = ".".join(keys)
        if whole in holder:  # keys of an ablation's ``vary`` have dots of their own
            return whole, []
        return keys[0], keys[1:]
    if isinstance(holder, list):
        positions = [str(index) for index in range(len(holder))]
        if keys[0] not in positions:
            raise SettingError(path, unknown("position", keys[0], positions))
        return int(keys[0]), keys[1:]
    raise SettingError(path, f"{show(holder)} has no setting '{keys[0]}' inside it")
