"""The one error that a user sees: a sentence with the value, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """Something the user can mend; commands print its sentence and exit with code 2."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does.

    Args:
        kind: What the name stands for, such as ``"quantizer"``.
        value: What the user wrote.
        allowed: The names that exist.
    """
    names = sorted(allowed)
    near = get_close_matches(str(value), names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    listing = ", ".join(names) if names else "none"
    return f"there is no {kind} '{value}'; {hint}allowed: {listing}"


def not_installed(library: str) -> str:
    """The sentence for a library that is only needed by what carries its name.

    Args:
        library: Its name, which is that of the extra of the distribution too.
    """
    return (
        f"{library} is not installed, and what is named {library}/… needs it; install it with "
        f"pip install 'qbench-harness[{library}]', or leave these names out"
    )
