"""The factors of a comparison that may differ between its rows, in words."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from qbench.errors import UsageError
from qbench.registry import quantizers
from qbench.reporting.compare import Comparison
from qbench.study.recipes import PAPER
from qbench.study.schema import Optimizer, Schedule, Study, Training
from qbench.study.trial import Trial

__all__ = ["FACTORS", "TUNING", "Factor"]


class Factor(NamedTuple):
    """Something that should be equal for all rows, unless it is what the study compares."""

    name: str
    of_row: Callable[[Comparison, Trial], str]
    """What a trial has; empty where the factor does not apply to it."""
    of_study: Callable[[Study], str]
    """What the study's own recipe says; empty where each row has its own paper's."""


def _trained(name: str, words: Callable[[Training], str]) -> Factor:
    def of_study(study: Study) -> str:
        return "" if study.recipe == PAPER else words(study.training)

    return Factor(name, lambda _, trial: words(trial.training), of_study)


def _optimizer(found: Optimizer) -> str:
    words: list[str] = [found.name]
    words += [f"momentum {found.momentum:g}"] if found.name == "sgd" else []
    words += ["nesterov"] if found.nesterov else []
    if found.name != "sgd" and found.betas != Optimizer().betas:
        words.append(f"betas {found.betas[0]:g} and {found.betas[1]:g}")
    return ", ".join(words)


def _schedule(found: Schedule) -> str:
    words: list[str] = [found.name]
    if found.name == "step":
        marks = ", ".join(f"{mark:g}" for mark in found.milestones) or "no epoch"
        words = [f"times {found.factor:g} at {marks}"]
    words += [f"after {found.warmup_epochs:g} epochs of warm-up"] if found.warmup_epochs else []
    return ", ".join(words)


def _augmentation(found: Training) -> str:
    if found.augmentation is None:
        return "the data set's own"
    return ", ".join(found.augmentation) or "none"


def _clipping(found: Training) -> str:
    return "none" if found.clip_gradient is None else f"{found.clip_gradient:g}"


def _start_of_row(comparison: Comparison, trial: Trial) -> str:
    if trial.starts_from is not None:
        needed = comparison.trials.get(trial.starts_from)
        return _from_float(trial.training if needed is None else needed.trial.training)
    if trial.start == "scratch":
        # A float network that others start from has nothing that it could start from.
        is_start = comparison.plan.study.start == "float" and trial.quantizer.name == "float"
        return "" if is_start else "random weights"
    return "weights from a file"


def _from_float(training: Training) -> str:
    return f"own float network of the seed, after {training.epochs} epochs"


def _start_of_study(study: Study) -> str:
    if study.start == "float":
        return _from_float(study.training)
    return "random weights" if study.start == "scratch" else "weights from a file"


def _kept(patterns: Sequence[str]) -> str:
    return ", ".join(patterns) or "none"


def _layers_of_row(_: Comparison, trial: Trial) -> str:
    return "" if trial.quantizer.name == "float" else _kept(trial.keep_float)


def _activations(_: Comparison, trial: Trial) -> str:
    if trial.bits.activation == 32:
        return ""
    return OWN if trial.activations is None else trial.activations.label


def _update(_: Comparison, trial: Trial) -> str:
    if trial.bits.weight == 32:
        return ""
    try:
        owns = quantizers.entry(trial.quantizer.name).facts.get("owns_update", False)
    except UsageError:  # a plug-in that is not loaded
        return "unknown"
    return "the method's own rule" if owns else OPTIMIZER


TUNING = Factor("tuning trials", lambda *_: "none", lambda _: "none")
"""Of a study without tuning; what searches spend is counted where there are any."""
OWN = "the same method"
OPTIMIZER = "the recipe's optimizer"
FACTORS = (
    Factor("start", _start_of_row, _start_of_study),
    _trained("epochs", lambda one: f"{one.epochs}"),
    _trained("optimizer", lambda one: _optimizer(one.optimizer)),
    _trained("learning rate", lambda one: f"{one.optimizer.learning_rate:g}"),
    _trained("schedule", lambda one: _schedule(one.schedule)),
    _trained("weight decay", lambda one: f"{one.optimizer.weight_decay:g}"),
    _trained("batch", lambda one: f"{one.batch}"),
    _trained("augmentation", _augmentation),
    _trained("label smoothing", lambda one: f"{one.label_smoothing:g}"),
    _trained("gradient clipping", _clipping),
    _trained("precision", lambda one: one.precision),
    _trained("batches for batch-norm re-estimation", lambda one: f"{one.reestimation_batches}"),
    Factor("layers in float", _layers_of_row, lambda study: _kept(study.keep_float)),
    Factor("activations by", _activations, lambda _: OWN),
    Factor("weights moved by", _update, lambda _: OPTIMIZER),
    TUNING,
)
"""In the order of a table."""
