"""A published number beside a trial: whether they are of one cell, and what differs.

A row of the table and a trial belong together where quantizer, model, data set and bits have the
same names. The quantizer's options do not decide that: a row of a study is shown with its options,
and each option that a published number states and that differs is named. A model or a data set with
options is another one, but for how a model starts and which activation it has, of which sources
say little, and for options that the published row's flags state (``model.residual=convolution``).
"""

import json
from collections.abc import Mapping
from typing import Any

from qbench.errors import UsageError
from qbench.registry import Registry, datasets, models, quantizers
from qbench.reporting.published import PublishedRow
from qbench.reporting.published_flags import DESCRIBING, UNMATCHED, flag_words
from qbench.study.schema import Component
from qbench.study.trial import Trial

__all__ = ["descriptions", "differences", "distance", "is_known", "matches"]

START_OPTIONS = ("weights",)
"""Options of a model that say where training starts, not what the network is."""
_UNSTATED = (*START_OPTIONS, "activation", "init", "init_scale")
"""Options of a model that do not make its cell another one."""
_ENDS = ("first_last_float", "first_last_8bit", "first_last_quantized")
_SHORTCUTS = ("shortcut_float", "shortcut_quantized")
_STARTS = ("pretrained_start", "scratch_start")
_VARIANTS = (
    "best_epoch", "distillation", "modified_activations", "modified_network", "modified_shortcuts",
    "two_step",
)  # fmt: skip
"""Flags of which a method has numbers with and without."""
_SILENT = ("runs", "disputed")
"""Flags that a list of protocols does not repeat."""


def matches(row: PublishedRow, trial: Trial) -> bool:
    """Whether the row is a number for the trial's cell; see the module's rule."""
    own = {k: v for k, v in trial.model.options.items() if k not in _UNSTATED}
    return (
        row.method == trial.quantizer.name
        and row.model == trial.model.name
        and all(row.flag(f"model.{name}") == _text(value) for name, value in own.items())
        and row.data == trial.data.name
        and not trial.data.options
        and row.bits == trial.bits
    )


def distance(row: PublishedRow, trial: Trial) -> int:
    """In how many ways the row is of another variant of the method than the trial."""
    count = sum(row.flag(name) is not None for name in _VARIANTS)
    for flag in row.flags:
        name, _, value = flag.partition("=")
        if name.startswith(("options.", "model.")) or name == "optimizer":
            count += _ours(name, trial) != value
    return count


def is_known(row: PublishedRow) -> bool:
    """Whether anything that a trial could differ in is known of the number."""
    return any(flag.partition("=")[0] not in DESCRIBING for flag in row.flags)


def differences(row: PublishedRow, trial: Trial) -> list[str]:
    """What the row's flags state and the trial does otherwise, in words, ours beside theirs."""
    found = []
    for flag in row.flags:
        name, _, value = flag.partition("=")
        if name in DESCRIBING:
            continue
        if name in UNMATCHED:
            found.append(_unmatched(name, flag_words(flag)))
            continue
        if name in _SHORTCUTS and _other_shortcut(row, trial):
            continue  # the kind of shortcut is told, and ours has none to quantize
        ours = _ours(name, trial)
        if ours != (value or name):
            found.append(f"{flag_words(flag)}, ours {_our_words(name, ours)}")
    if trial.activations is not None and trial.bits.activation < 32:
        found.append(f"ours quantizes activations by {trial.activations.label}")
    return found


def descriptions(row: PublishedRow) -> list[str]:
    """What else is known of the number, in words."""
    names = [flag for flag in row.flags if flag.partition("=")[0] in DESCRIBING]
    return [flag_words(flag) for flag in names if flag.partition("=")[0] not in _SILENT]


def _unmatched(name: str, words: str) -> str:
    return f"{words}, ours the last" if name in ("best_epoch", "mean_epochs") else words


def _other_shortcut(row: PublishedRow, trial: Trial) -> bool:
    stated = row.flag("model.shortcut")
    return stated is not None and stated != _ours("model.shortcut", trial)


def _ours(name: str, trial: Trial) -> str:
    """The trial's value of a flag, or the flag of its group that holds for it."""
    kept = trial.keep_float
    if name.startswith("options."):
        return _option(quantizers, trial.quantizer, name.partition(".")[2])
    if name.startswith("model."):
        return _option(models, trial.model, name.partition(".")[2])
    if name in _ENDS:
        ends = sum(end in kept for end in ("first", "last"))
        return {0: "first_last_quantized", 2: "first_last_float"}.get(ends, "")
    if name in _SHORTCUTS:
        return "shortcut_float" if "shortcut" in kept else "shortcut_quantized"
    if name in _STARTS:
        given = any(trial.model.options.get(option) for option in START_OPTIONS)
        return "pretrained_start" if given or trial.start != "scratch" else "scratch_start"
    if name == "augmentation":
        return "+".join(_augmentation(trial)) or "none"
    values: Mapping[str, object] = {
        "epochs": trial.training.epochs,
        "batch": trial.training.batch,
        "optimizer": trial.training.optimizer.name,
    }
    return str(values[name])


def _our_words(name: str, ours: str) -> str:
    if name in (*_ENDS, *_SHORTCUTS, *_STARTS):
        return flag_words(ours) if ours else "one of the two in float"
    return ours or "without it"


def _option(registry: Registry, component: Component, name: str) -> str:
    """An option's value, given or the default; empty where there is no such option."""
    if name in component.options:
        return _text(component.options[name])
    try:
        options = registry.entry(component.name).options
    except UsageError:  # a plug-in that is not loaded here
        return ""
    return _text(options[name][1]) if name in options else ""


def _augmentation(trial: Trial) -> tuple[str, ...]:
    if trial.training.augmentation is not None:
        return trial.training.augmentation
    try:
        facts: Mapping[str, Any] = datasets.entry(trial.data.name).facts
    except UsageError:
        return ()
    return tuple(facts.get("augmentation", ()))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
