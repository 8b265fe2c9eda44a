"""What a trial's method does, as eight digits: results of other code are named, never mixed."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from qbench.registry import quantizers
from qbench.study.trial import Trial

__all__ = ["code_fingerprint", "fingerprint"]


def fingerprint(trial: Trial) -> str:
    """Eight hexadecimal digits of the code of a trial's quantizers.

    A method's own file counts, and every file beside it that it imports; comments, docstrings and
    layout do not.
    """
    names = [trial.quantizer.name] + ([trial.activations.name] if trial.activations else [])
    return code_fingerprint(tuple(sorted({quantizers.entry(name).source for name in names})))


@cache
def code_fingerprint(sources: tuple[Path, ...]) -> str:
    """Eight hexadecimal digits of what source files do, with the files beside them they import."""
    digest = hashlib.blake2b(digest_size=4)
    for source in sorted(_with_imports(sources), key=lambda path: path.name):
        tree = _tree(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_text(body[0]):
                body[0] = ast.Pass()
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _with_imports(sources: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    waiting = set(sources)
    while waiting:
        source = waiting.pop()
        found.add(source)
        waiting |= set(_siblings(source)) - found
    return found


def _siblings(source: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            beside = source.with_name(f"{node.module.rpartition('.')[2]}.py")
            if beside.is_file():
                yield beside


def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
