"""Broken inputs: bytes that are cut, flipped, doubled or moved, and JSON of other types."""

from typing import Any

from hypothesis import strategies as st

TOKENS = [
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"[", b"{", b"]", b"}", b": ", b"- ", b"\n", b"\t",
    b"&a ", b"*a", b"!!python/object:os.system ", b"!!int ", b"%YAML 9\n", b"---\n", b"null",
    b"-1", b"1e999", b".nan", b"2000-01-01", b"0x1f", b"'", b'"', b"#", b"|\n", b"<<: ", b"? ",
    b"[" * 2000, b"../" * 9, b"/etc/passwd", b"${HOME}", b"9" * 400,
]  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "delete", "insert", "flip", "double", "swap", "number"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.sampled_from(TOKENS) | st.binary(max_size=6),
    ),
    min_size=1,
    max_size=4,
)
"""How bytes are broken; see :func:`broken`."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=4,
)


def broken(data: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    """The bytes after the edits; places are shares of the length."""
    for kind, start, end, token in edits:
        first = int(start * len(data))
        length = 1 + int(end * min(40, len(data)))
        part, rest = data[first : first + length], data[first + length :]
        match kind:
            case "cut":
                data = data[:first]
            case "delete":
                data = data[:first] + rest
            case "insert":
                data = data[:first] + token + data[first:]
            case "flip":
                data = data[:first] + bytes(byte ^ 0x21 for byte in part) + rest
            case "double":
                data = data[: first + length] + part + rest
            case "swap":
                other = int(end * len(data))
                piece = data[other : other + length]
                data = data[:first] + piece + rest
            case "number":
                data = data[:first] + token[:3] + rest
    return data


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [(*path, key) for key, _ in items] + [
        place for key, item in items for place in places(item, (*path, key))
    ]


def replaced(value: Any, share: float, new: Any, *, delete: bool) -> Any:
    """A JSON value with one of its places replaced or deleted."""
    found = places(value)
    if not found:
        return new
    *outer, last = found[int(share * (len(found) - 1))]
    holder = value
    for key in outer:
        holder = holder[key]
    if delete:
        del holder[last]
    else:
        holder[last] = new
    return value
