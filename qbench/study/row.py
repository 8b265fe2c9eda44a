"""A row of a study's comparison, and the recipe that it is trained by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from qbench.study.recipes import PAPER, paper_recipe, recipes
from qbench.study.schema import Component, QuantizerEntry, Study
from qbench.study.sentences import SettingError, SettingPath, refused
from qbench.study.training_settings import Training, merged

__all__ = ["Row", "checked_training", "row_training"]


@dataclass(frozen=True)
class Row:
    """A row of the report: a quantizer with what the study changes about it."""

    label: str
    quantizer: Component
    activations: Component | None
    training: Training
    path: SettingPath
    """Where the study says it, for messages."""
    ablation: str = ""
    base: str = ""
    """The label of the row that an ablation varies."""
    changes: tuple[tuple[str, Any], ...] = ()
    """What it sets, by dotted key."""
    seed_offset: int = 0
    """What is added to the study's seeds."""

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.quantizer.name == "float"


def row_training(study: Study, entry: QuantizerEntry, path: SettingPath) -> Training:
    """A row's recipe: the study's, over it the row's named one, over it what the row writes out.

    Under ``recipe: paper`` what the study writes out stands over the recipe of the row's paper.

    Raises:
        SettingError: A setting is refused, or the row's paper has no recipe.
    """
    by_paper = PAPER in (entry.recipe, study.recipe if entry.recipe is None else None)
    name = paper_recipe(entry.name) if by_paper else entry.recipe
    base = study.training.model_dump(mode="json")
    if by_paper and name not in recipes():
        if entry.recipe == PAPER or not entry.training:
            raise SettingError(
                path,
                f"'{entry.label or entry.name}' has no recipe of its own paper; give the row a "
                "'recipe:' such as cifar_200ep, or a 'training:'",
            )
    elif entry.recipe is not None:
        base |= recipes()[str(name)].groups
    elif by_paper:
        written = study.training.model_dump(mode="json", exclude_unset=True)
        settings = merged(recipes()[str(name)].settings, written)
        base = checked_training(settings, path).model_dump(mode="json")
    return checked_training(merged(base, entry.training), (*path, "training"))


def checked_training(values: Mapping[str, Any], path: SettingPath) -> Training:
    """Training settings from plain values.

    Args:
        values: With the keys of ``training``.
        path: Where the study says them.

    Raises:
        SettingError: One is refused.
    """
    try:
        return Training.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise refused(error, Training, path=path) from None
