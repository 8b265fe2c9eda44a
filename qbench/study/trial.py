"""A trial: one cell of the grid with one seed, a frozen value with an identity."""

import hashlib
import json
import re
from functools import cached_property
from typing import Literal

from pydantic import ConfigDict

from qbench.study.schema import Bits, Component, DiagnosticsSettings, Settings, Training

__all__ = ["PROTOCOL", "Trial", "TrialData"]

PROTOCOL = 2
"""Raised when the meaning of a trial changes, so that old results are not taken for new ones."""


class TrialData(Component):
    """The images of a trial; where they lie changes no number and is not part of it."""

    validation: int = 0
    limit: int | None = None


class Trial(Settings):
    """Everything that can change a number of one training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantizer: Component
    activations: Component | None = None
    """The activations' quantizer, where it is another one than the weights'."""
    model: Component
    data: TrialData
    bits: Bits
    seed: int
    start: str = "scratch"
    """``scratch``, ``trial:<name>`` of a float trial, or ``file:<digest>`` of its weights."""
    keep_float: tuple[str, ...] = ("first", "last", "shortcut")
    training: Training = Training()
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    judged_on: Literal["test", "validation"] = "test"
    """``validation``: a trial of a search, which never opens the test set."""
    until: int | None = None
    """The epoch at which a trial of a search ends before its recipe does."""
    continues: str = ""
    """The name of the same trial until an earlier epoch, from whose checkpoint it goes on."""

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, a hash of what differs from the defaults."""
        identity = self.model_dump(mode="json", exclude_defaults=True) | {"protocol": PROTOCOL}
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    @cached_property
    def name(self) -> str:
        """A readable name that ends with the id: ``resnet20-cifar100-daq-w1a1-s0-3fa9c1d20b7e``."""
        quantizer = self.quantizer.name
        if self.activations is not None:
            quantizer += f"+{self.activations.name}"
        words = (self.model.name, self.data.name, quantizer, str(self.bits).lower())
        return re.sub(r"[^A-Za-z0-9_+.-]", "_", f"{'-'.join(words)}-s{self.seed}-{self.id}")

    @property
    def last_epoch(self) -> int:
        """The epochs that are trained."""
        return self.training.epochs if self.until is None else self.until

    @property
    def needs(self) -> str | None:
        """The name of the trial that has to be done before."""
        return self.continues or self.starts_from

    @property
    def starts_from(self) -> str | None:
        """The name of the trial whose weights it starts from."""
        return self.start.removeprefix("trial:") if self.start.startswith("trial:") else None
