"""Expressions that choose cells: ``quantizer == 'lsq' and weight_bits == 1``."""

import ast
import warnings
from typing import Any

from simpleeval import EvalWithCompoundTypes

from qbench.errors import UsageError, unknown
from qbench.study.plan import Cell
from qbench.study.sentences import show

__all__ = ["Expression"]

NAMES = (
    "quantizer", "label", "ablation", "model", "data", "bits", "weight_bits", "activation_bits",
    "seed",
)  # fmt: skip


def _values(cell: Cell) -> dict[str, Any]:
    trial = cell.trial
    return {
        "quantizer": trial.quantizer.name,
        "label": cell.label,
        "ablation": cell.ablation,
        "model": trial.model.name,
        "data": trial.data.name,
        "bits": str(trial.bits),
        "weight_bits": trial.bits.weight,
        "activation_bits": trial.bits.activation,
        "seed": cell.seed,
    }


class Expression:
    """A condition on cells, in a small part of Python that can do nothing but compare."""

    def __init__(self, text: str) -> None:
        """Parse the text.

        Raises:
            UsageError: It is no expression, or it uses a name that does not exist.
        """
        self.text = text
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UsageError(
                f"{show(text)} is not an expression; write one such as quantizer == 'lsq' and "
                "weight_bits == 1"
            ) from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id not in NAMES:
                raise UsageError(f"{unknown('name', node.id, NAMES)}; put text in quotes")
        self._evaluator = EvalWithCompoundTypes(functions={})
        self._parsed = tree.body

    def matches(self, cell: Cell) -> bool:
        """Whether the condition holds for a cell.

        Raises:
            UsageError: It cannot be computed, or is neither true nor false.
        """
        self._evaluator.names = _values(cell)
        try:
            value = self._evaluator.eval(self.text, previously_parsed=self._parsed)
        except Exception as error:  # whatever a comparison of the user's values may raise
            reason = " ".join(str(error).split())
            raise UsageError(f"{show(self.text)} cannot be computed: {reason}") from None
        if not isinstance(value, bool):
            raise UsageError(
                f"{show(self.text)} is {show(value)} for '{cell.label}', neither true nor false; "
                "compare it with something"
            )
        return value
