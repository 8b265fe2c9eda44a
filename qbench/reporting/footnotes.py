"""Footnotes of methods: what a quantizer's file says that a reader of its numbers must know."""

from collections.abc import Iterable

from qbench.errors import UsageError
from qbench.registry import quantizers
from qbench.study.plan import Cell

__all__ = ["Footnotes"]


class Footnotes:
    """The ``note`` facts of the quantizers in a comparison, numbered in order."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        """Look up the note of every quantizer of the cells; one that has none gets no number."""
        texts: dict[str, str] = {}
        self._numbers: dict[str, list[int]] = {}
        for cell in cells:
            if cell.label in self._numbers:
                continue
            numbers = self._numbers[cell.label] = []
            for component in (cell.trial.quantizer, cell.trial.activations):
                text = _note(component.name) if component is not None else ""
                if text and component is not None:
                    texts.setdefault(component.name, text)
                    numbers.append(list(texts).index(component.name) + 1)
        self.notes = tuple(
            f"[{number}] {name}: {text}" for number, (name, text) in enumerate(texts.items(), 1)
        )

    def marked(self, label: str) -> str:
        """The label with the numbers of its notes: ``lsq [1]``."""
        return " ".join([label, *(f"[{number}]" for number in self._numbers.get(label, ()))])


def _note(name: str) -> str:
    try:
        return " ".join(str(quantizers.entry(name).facts.get("note", "")).split())
    except UsageError:  # a plug-in that is not loaded here; its results stand all the same
        return ""
