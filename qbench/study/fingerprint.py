"""What a trial's method does, as eight digits: results of other code are named, never mixed."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from qbench.registry import quantizers
from qbench.study.trial import Trial

__all__ = ["code_fingerprint", "fingerprint"]

SAYS_ONLY = ("search", "components")
"""Facts of a quantizer about other trials than the one that is run."""


def fingerprint(trial: Trial) -> str:
    """Eight hexadecimal digits of the code of a trial's quantizers.

    A method's own file counts, and every file beside it that it imports; comments, docstrings,
    layout, and what only says how to tune or to ablate it, do not.
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
            if isinstance(node, ast.ClassDef):
                node.body = list(_acting(node.body))
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


def _acting(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """A class's statements without the facts that change no number, and the texts below these."""
    left_out = False
    for line in body:
        targets = getattr(line, "targets", [getattr(line, "target", None)])
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if names & set(SAYS_ONLY):
            left_out = True
        elif not (left_out and _is_text(line)):
            left_out = False
            yield line


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
