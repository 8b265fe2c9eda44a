"""What a study file may say: typed, frozen values; an unknown key or a wrong type is an error."""

import itertools
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from qbench.errors import unknown
from qbench.study.ablations import Ablation, Exclusion
from qbench.study.bundles import BUNDLES
from qbench.study.recipes import check_recipe, over_recipe
from qbench.study.settings import Settings
from qbench.study.training_settings import Optimizer, Schedule, Training
from qbench.study.tuning import Tuning
from qbench.study.views import ReportSettings, TrackingSettings

__all__ = [
    "Ablation", "Bits", "Component", "DataSettings", "DiagnosticEntry", "DiagnosticsSettings",
    "Exclusion", "Optimizer", "QuantizerEntry", "ReportSettings", "Resources", "Schedule",
    "Settings", "Study", "TrackingSettings", "Training", "Tuning", "options_text",
]  # fmt: skip


class Bits(Settings):
    """Bit-widths of weights and activations, written ``W1A32``; 32 means float."""

    weight: int = Field(ge=1, le=32)
    activation: int = Field(ge=1, le=32)

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if isinstance(value, str):
            match = re.fullmatch(r"[Ww](\d+)[Aa](\d+)", value.strip())
            if match is None:
                raise ValueError(
                    f"'{value}' is not a pair of bit-widths; write W1A32 for 1-bit weights and "
                    "float activations"
                )
            return {"weight": int(match[1]), "activation": int(match[2])}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind, bits in (("weights", self.weight), ("activations", self.activation)):
            if bits > 8 and bits != 32:
                raise ValueError(f"{bits} bits for {kind}; allowed: 1 to 8, or 32 for float")
        return self

    @model_serializer
    def _as_text(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"W{self.weight}A{self.activation}"


def _name_only(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def options_text(options: Mapping[str, Any]) -> str:
    """Options as a reader sees them: ``shortcut=B, width=16``."""
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    )


class Component(Settings):
    """A registered name, alone or with options."""

    name: str
    options: dict[str, Any] = {}
    """The options of the registered class or function."""

    _short = model_validator(mode="before")(_name_only)

    @property
    def label(self) -> str:
        """The name, with the options that differ from their defaults."""
        return f"{self.name} ({options_text(self.options)})" if self.options else self.name


class QuantizerEntry(Settings):
    """A row of the comparison: a quantizer, with what this study changes about it."""

    name: str
    label: str = ""
    """The row's name in reports; made from the name and the options where it is not given."""
    options: dict[str, Any] = {}
    activations: Component | None = None
    """Another method for the activations."""
    recipe: str | None = None
    """A named recipe in place of the study's; what it does not say is the study's."""
    training: dict[str, Any] = {}
    """What this row's recipe changes, with the keys of ``training``; printed in the report."""
    seed_offset: NonNegativeInt = 0
    """Its trials train with the study's seeds plus this, and stand in the report at the seeds."""

    _short = model_validator(mode="before")(_name_only)

    @field_validator("recipe")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else check_recipe(value)


class DataSettings(Settings):
    """The data sets and what is held out of them."""

    sets: tuple[Component, ...] = Field(min_length=1)
    root: str = "data"
    """The folder in which the sets' own files lie; nothing is downloaded."""
    cache: str = ""
    """The folder for decoded images; by default ``.qbench`` inside ``root``."""
    validation: NonNegativeInt = 0
    """Training images held out for validation, the same for every trial."""
    limit: PositiveInt | None = None
    """Train on this many images only, for trying out."""


class DiagnosticEntry(Settings):
    """A diagnostic, with when and where it is measured."""

    name: str
    options: dict[str, Any] = {}
    every: PositiveInt | None = None
    """Epochs between measurements; before training and the end always count."""
    checkpoints: Annotated[int, Field(ge=1)] | None = None
    """Or so many measurements, spread over training; the last is at its end."""
    layers: PositiveInt | None = None
    """So many quantized layers, spread over the depth; ``null`` takes all."""

    _short = model_validator(mode="before")(_name_only)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.every is not None and self.checkpoints is not None:
            raise ValueError(f"'{self.name}' has both every and checkpoints; leave one out")
        return self

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether it is measured after ``epoch`` of ``epochs`` epochs."""
        if self.every is not None:
            return epoch % self.every == 0 or epoch == epochs
        count = self.checkpoints or 3
        return epoch in {round(epochs * k / (count - 1)) for k in range(count - 1)} | {epochs}


class DiagnosticsSettings(Settings):
    """What is measured during training, and when."""

    of: tuple[DiagnosticEntry, ...] = tuple(
        DiagnosticEntry.model_validate(entry) for entry in BUNDLES["economy"]
    )
    """Diagnostics and bundles of them: ``economy``, ``standard``, ``full``; later ones count."""
    images: PositiveInt = 256
    """Training images of the diagnostic batch, the same for every trial."""
    window: PositiveInt = 20
    """Optimizer steps at the end of an epoch in which flips and oscillations are counted."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        value = {"of": value} if isinstance(value, str) else value
        of = value.get("of") if isinstance(value, Mapping) else None
        if isinstance(of, str):
            if of not in BUNDLES:
                raise ValueError(unknown("bundle of diagnostics", of, BUNDLES))
            of = [of]
        if not isinstance(of, list | tuple):
            return value
        lists = (BUNDLES.get(one, (one,)) if isinstance(one, str) else (one,) for one in of)
        return {**dict(value), "of": tuple(itertools.chain.from_iterable(lists))}  # type: ignore[call-overload]


class Resources(Settings):
    """What a trial asks for; none of it changes a number on one kind of device."""

    cpus: PositiveInt = 1
    """Cores, and threads, of a trial."""
    gpus: NonNegativeFloat = 0.0
    """GPUs of a trial; a fraction lets several share one. 0 trains on the CPU."""
    retries: NonNegativeInt = 1
    """How often a trial whose worker died is started again."""
    timeout_minutes: PositiveFloat | None = None
    """A trial whose worker has run so long is ended and has failed; not with ``--local``."""
    checkpoint_seconds: PositiveFloat = 60.0
    """At most so much work of a trial is lost when it is cut off."""


class Study(Settings):
    """A study file."""

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    question: str
    """What the study is run to find out; the head of its report."""
    plugins: tuple[str, ...] = ()
    """Modules, or ``.py`` files beside the study file, that register more names."""
    quantizers: tuple[QuantizerEntry, ...] = Field(min_length=1)
    models: tuple[Component, ...] = Field(min_length=1)
    data: DataSettings
    bits: tuple[Bits, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(default=(0,), min_length=1)
    start: str = "scratch"
    """``scratch``, ``float`` (the float trial of the same model, data and seed), or a file."""
    keep_float: tuple[str, ...] = ("first", "last", "shortcut")
    """Layers left in float: ``first``, ``last``, ``shortcut`` (1x1), or patterns of layer names."""
    recipe: str | None = None
    """A named recipe under ``training``; ``paper``: each row by its own paper's."""
    training: Training = Field(default=Training(), validate_default=True)
    """The settings that the rows share, over those of the recipe."""
    ablations: tuple[Ablation, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    tuning: Tuning | None = None
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    resources: Resources = Resources()
    tracking: TrackingSettings = TrackingSettings()
    report: ReportSettings = ReportSettings()

    @field_validator("recipe")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else check_recipe(value)

    @field_validator("training")
    @classmethod
    def _over_recipe(cls, value: Training, info: ValidationInfo) -> Training:
        return over_recipe(info.data.get("recipe"), value)
