"""What a study leaves out on purpose: parts of a row in ablations, and cells of the grid."""

from typing import Any, Self

from pydantic import model_validator

from qbench.study.settings import Settings

__all__ = ["Ablation", "Exclusion"]


class Ablation(Settings):
    """One factor at a time around a row's defaults."""

    quantizer: str
    """The name or label of a row of ``quantizers``."""
    vary: dict[str, list[Any]] = {}
    """Dotted keys of the row (``options.backward``, ``training.optimizer.learning_rate``)."""
    without: tuple[str, ...] = ()
    """Components that the row's method declares, each left out in a row of its own."""
    cross: bool = False
    """All combinations of values and components, in place of one factor at a time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.vary and not self.without:
            raise ValueError(
                "it changes nothing; give 'vary' a key with values, or 'without' a component"
            )
        return self


class Exclusion(Settings):
    """Cells of the grid that are not run, with the reason that the plan and the report print."""

    where: str
    """An expression, such as ``quantizer == 'lsq' and weight_bits == 1``; see studies/README.md."""
    because: str
