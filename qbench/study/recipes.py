"""Named recipes: training settings with where they come from, for one line in a study."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from qbench.errors import unknown
from qbench.study.document import parse
from qbench.study.settings import Settings
from qbench.study.training_settings import Training, merged

__all__ = ["PAPER", "Recipe", "check_recipe", "over_recipe", "paper_recipe", "recipes"]

FILE = Path(__file__).with_name("recipes.yaml")
PAPER = "paper"
"""In a study: each row by the recipe ``paper:<its quantizer>``."""


class Recipe(Settings):
    """Training settings; what one does not say is the study's, or the default."""

    source: str
    """Who trains so, and whether that was read or is remembered."""
    training: Training
    note: str = ""
    """What the settings cannot say: options of the method, phases, another network."""

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings that it says, and no others."""
        return self.training.model_dump(mode="json", exclude_unset=True)

    @property
    def groups(self) -> dict[str, Any]:
        """The same, but groups such as ``schedule`` whole, with the defaults that it leaves out."""
        return {name: self.training.model_dump(mode="json")[name] for name in self.settings}


@cache
def recipes() -> Mapping[str, Recipe]:
    """Every recipe by its name: those of papers by ``paper:<quantizer>``."""
    found = parse(FILE.read_text(encoding="utf-8"), FILE.name)
    return {
        name: Recipe.model_validate_json(json.dumps(values), strict=True)
        for name, values in found.items()
    }


def paper_recipe(quantizer: str) -> str:
    """The name of the recipe of a quantizer's paper, whether there is one or not."""
    return f"{PAPER}:{quantizer}"


def check_recipe(name: str) -> str:
    """The name, if it is that of a recipe, or ``paper``.

    Raises:
        ValueError: There is none; the sentence names the nearest.
    """
    if name != PAPER and name not in recipes():
        raise ValueError(unknown("recipe", name, [PAPER, *recipes()]))
    return name


def over_recipe(name: str | None, written: Training) -> Training:
    """The training settings that are written out, over those of a named recipe.

    ``paper`` is another recipe for each row, and changes nothing here.
    """
    if name is None or name == PAPER:
        return written
    settings = merged(recipes()[name].settings, written.model_dump(mode="json", exclude_unset=True))
    return Training.model_validate_json(json.dumps(settings), strict=True)
