"""The cells of a study: the product of its rows, models, data sets, bits and seeds."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from qbench import registry
from qbench.study.names import checked
from qbench.study.plan import Cell
from qbench.study.recipes import PAPER
from qbench.study.rows import Row, study_rows
from qbench.study.schema import Bits, Component, DiagnosticsSettings, Study
from qbench.study.sentences import SettingError, SettingPath, show
from qbench.study.trial import Trial, TrialData

__all__ = ["FLOAT_BITS", "Grid", "Place"]

FLOAT_BITS = Bits(weight=32, activation=32)
Place = tuple[int, int]
"""The positions of a model and of a data set in their lists."""
KEEP_FLOAT: tuple[str, ...] = Trial.model_fields["keep_float"].default
"""Of a float trial, whatever the study keeps: it changes no number of a float network."""
NO_DIAGNOSTICS: DiagnosticsSettings = Trial.model_fields["diagnostics"].default
"""Of a float trial, in which there is nothing to diagnose."""


class Grid:
    """A study's axes with their names, options and recipes checked once.

    Trials are put together from checked parts without validating them again, so that ten thousand
    of them take a second.
    """

    def __init__(self, study: Study) -> None:
        """Check the axes.

        Raises:
            SettingError: A name, an option or a recipe is refused.
        """
        self.study = study
        self.rows = study_rows(study)
        self.models = [
            checked(registry.models, model, ("models", index))
            for index, model in enumerate(study.models)
        ]
        self.sets = [
            self._images(checked(registry.datasets, images, ("data", "sets", index)))
            for index, images in enumerate(study.data.sets)
        ]
        self.diagnostics = _checked_diagnostics(study.diagnostics)
        self.keep_float = tuple(sorted(set(study.keep_float)))
        base = Row("float", Component(name="float"), None, study.training, ("training",))
        self.float_row = next((row for row in self.rows if row.is_float), base)
        self._check_trained()

    def cells(self) -> Iterator[tuple[Place, Cell]]:
        """Rows in the order of the study, then models, data sets, bits and seeds.

        A float row has one cell for each model, data set and seed.
        """
        for row in self.rows:
            for place, bits in itertools.product(self.places(), self.bits_of(row)):
                for seed in self._seeds(row):
                    trial = self.trial(row, place, bits, seed, self.start(row, place, seed))
                    yield place, Cell(trial, row.label, row.ablation, row.seed_offset)

    @cached_property
    def floats(self) -> dict[tuple[Place, int], Trial]:
        """The float trials that others start from, by model and data set, and their own seed."""
        return {
            (place, seed): self.trial(self.float_row, place, FLOAT_BITS, seed, "scratch")
            for place in self.places()
            for seed in dict.fromkeys(seed for row in self.rows for seed in self._seeds(row))
        }

    def _seeds(self, row: Row) -> list[int]:
        return [seed + row.seed_offset for seed in self.study.seeds]

    def _check_trained(self) -> None:
        """What is not trained itself starts from what was."""
        if self.study.start == "float" and self.float_row.path == ("training",):
            self._check_float_recipe()
        floats = [row for row in self.rows if row.is_float] or [self.float_row]
        for row in {"scratch": self.rows, "float": floats}.get(self.study.start, []):
            if row.training.epochs == 0:
                raise SettingError(
                    row.path,
                    f"'{row.label}' starts from random weights with 0 training.epochs; give it 1 "
                    "or more, or start from 'float' with 1 or more",
                )

    def _check_float_recipe(self) -> None:
        """Without a float row the float trials have the study's recipe, so there must be one."""
        if self.study.recipe == PAPER and "epochs" not in self.study.training.model_fields_set:
            raise SettingError(
                ("recipe",),
                "'paper' has no recipe for the float networks that rows start from; add a row "
                "{name: float, recipe: cifar_200ep}, or another 'recipe:' or 'training:' for it",
            )

    def bits_of(self, row: Row) -> tuple[Bits, ...]:
        """The bit-widths that a row has cells for."""
        return (FLOAT_BITS,) if row.is_float else self.study.bits

    def places(self) -> list[Place]:
        """Every model with every data set."""
        return list(itertools.product(range(len(self.models)), range(len(self.sets))))

    def start(self, row: Row, place: Place, seed: int) -> str:
        """What a trial starts from, as part of its identity."""
        if self.study.start == "float":
            return "scratch" if row.is_float else f"trial:{self.floats[place, seed].name}"
        return "scratch" if self.study.start == "scratch" else self.start_file

    def trial(
        self, row: Row, place: Place, bits: Bits, seed: int, start: str, **others: Any
    ) -> Trial:
        """A trial of checked parts; ``others`` are settings in place of the study's."""
        model, images = place
        settings = {
            "quantizer": row.quantizer,
            "activations": row.activations,
            "model": self.models[model],
            "data": self.sets[images],
            "bits": bits,
            "seed": seed,
            "start": start,
            "keep_float": KEEP_FLOAT if row.is_float else self.keep_float,
            "training": row.training,
            "diagnostics": NO_DIAGNOSTICS if row.is_float else self.diagnostics,
        }
        return Trial.model_construct(**settings | others)

    @cached_property
    def start_file(self) -> str:
        """The weights' file that every trial starts from, as part of a trial's identity."""
        try:
            with Path(self.study.start).open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        except OSError as error:
            sentence = f"{show(self.study.start)} cannot be read: {error.strerror}"
            raise SettingError(("start",), sentence) from None
        return f"file:{digest.hexdigest()}"

    def _images(self, images: Component) -> TrialData:
        data = self.study.data
        return TrialData(
            name=images.name, options=images.options, validation=data.validation, limit=data.limit
        )


def _checked_diagnostics(settings: DiagnosticsSettings) -> DiagnosticsSettings:
    """The settings in an order of their own, options checked; of equal names the last counts."""
    found = {}
    for index, entry in enumerate(settings.of):
        component = Component(name=entry.name, options=entry.options)
        path = ("diagnostics", "of", index)
        options = checked(registry.diagnostics, component, path).options
        _check_positive(options, (*path, "options"))
        found[entry.name] = entry.model_copy(update={"options": options})
    return settings.model_copy(update={"of": tuple(found[name] for name in sorted(found))})


def _check_positive(options: Mapping[str, Any], path: SettingPath) -> None:
    """Counts, shares and thresholds: no diagnostic has a use for a number that is not positive."""
    for name, value in options.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int | float) and not number > 0:
                raise SettingError((*path, name), f"{number} is not allowed; write more than 0")
