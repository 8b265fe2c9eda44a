"""What a run tells of a trial beside its metrics: name, tags, parameters, description."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from qbench.study.plan import Plan
from qbench.study.trial import Trial

__all__ = [
    "Shared", "axes", "escaped", "group_name", "parameters", "run_name", "safe_name", "shared",
    "trial_note", "tuned_rounds",
]  # fmt: skip


def safe_name(name: str) -> str:
    """A name that MLflow takes: letters, digits, ``_ . - : /`` and spaces, as a tidy path."""
    tidy = posixpath.normpath(re.sub(r"[^\w.\-: /]", "_", name).strip("/") or "_")
    return re.sub(r"^\.+", "_", tidy)[:250]


def escaped(text: str) -> str:
    """Text as Markdown shows it unchanged."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


_SEARCH = re.compile(r"(?P<row>.*) \[search (?P<round>\d+)\.(?P<number>\d+)\]", re.DOTALL)
"""The label of a trial of a search, in :meth:`qbench.study.plan.Plan.labels`."""


def tuned_rounds(plan: Plan) -> dict[str, str]:
    """By a final trial's name, the rounds of tuning that chose its settings: ``round 1, 3``."""
    found: dict[str, list[int]] = {}
    for cell in plan.cells:
        if cell.round:
            found.setdefault(cell.trial.name, []).append(cell.round)
    return {name: f"round {', '.join(map(str, own))}" for name, own in found.items()}


class Shared(NamedTuple):
    """What all trials of a study have in common, so that their names need not tell it."""

    data: bool = True
    options: bool = True
    """Of their models: each model stands there with one set of options."""


ONE_PLACE = Shared()


def shared(trials: Collection[Trial]) -> Shared:
    """What these trials have in common."""
    data = {trial.data.label for trial in trials}
    models = {trial.model.label: trial.model.name for trial in trials}
    return Shared(len(data) <= 1, len(set(models.values())) == len(models))


def group_name(trial: Trial, label: str, told: Shared = ONE_PLACE) -> str:
    """What trials that differ in the seed alone have in common: ``daq · resnet20 · W1A32``.

    Trials of one search have in common that it is one: ``daq · resnet20 · W1A32 · search 2``.

    Args:
        trial: The trial.
        label: Its row in the report.
        told: What goes without saying.
    """
    images = () if told.data else (trial.data.label,)
    model = trial.model.name if told.options else trial.model.label
    found = _SEARCH.fullmatch(label)
    row, search = (found["row"], (f"search {found['round']}",)) if found else (label, ())
    return " · ".join((row, model, *images, str(trial.bits), *search))


def run_name(trial: Trial, label: str, told: Shared = ONE_PLACE, rounds: str = "") -> str:
    """The name in the list of runs: ``daq · resnet20 · W1A32 · seed 0``; see :func:`group_name`.

    A trial of a search has its number there: ``daq · resnet20 · W1A32 · search 2.5 · seed 1001``.

    Args:
        trial: The trial.
        label: Its row in the report.
        told: What goes without saying.
        rounds: See :func:`tuned_rounds`.
    """
    found = _SEARCH.fullmatch(label)
    number = f".{found['number']}" if found else ""
    name = f"{group_name(trial, label, told)}{number} · seed {trial.seed}"
    return f"{name} · {rounds}" if rounds else name


def axes(trial: Trial) -> dict[str, str]:
    """The place of a trial in the grid, to filter by; it never changes."""
    return {
        "quantizer": trial.quantizer.name,
        "model": trial.model.label,
        "data": trial.data.label,
        "bits": str(trial.bits),
        "seed": str(trial.seed),
    }


def trial_note(trial: Trial, accuracy: float | None, left_out: Iterable[str]) -> str:
    """The description of the run of a trial that is done, in Markdown.

    Args:
        trial: The trial.
        accuracy: Of the deployed network on the test images, a share.
        left_out: Names of series that the run does not hold.
    """
    told = [] if accuracy is None else [f"**{accuracy:.2%}** of the test images right, deployed."]
    told.append(f"All files: `{trial.name}` in the folder of results.")
    groups = Counter(name.rpartition("/")[0] or name for name in left_out)
    if groups:
        counts = ", ".join(f"{escaped(group)} {count}" for group, count in sorted(groups.items()))
        told.append(f"Series that are in the artifact `history.parquet` alone: {counts}.")
    return "\n\n".join(told)


def parameters(trial: Trial) -> dict[str, str]:
    """The axes of the grid and every setting that differs from its default, as text."""
    training = trial.training
    found: dict[str, Any] = {
        "quantizer": trial.quantizer.name,
        "model": trial.model.name,
        "data": trial.data.name,
        "weight_bits": trial.bits.weight,
        "activation_bits": trial.bits.activation,
        "seed": trial.seed,
        "start": "float" if trial.starts_from else trial.start,
        "epochs": training.epochs,
        "batch": training.batch,
        "optimizer": training.optimizer.name,
        "learning_rate": training.optimizer.learning_rate,
    }
    changed = trial.model_dump(mode="json", exclude_defaults=True)
    recipe = changed.pop("training", {})
    for told in ("bits", "seed", "start", "continues"):
        changed.pop(told, None)
    for told in ("epochs", "batch"):
        recipe.pop(told, None)
    for told in ("name", "learning_rate"):
        recipe.get("optimizer", {}).pop(told, None)
    if "diagnostics" in changed:  # how often and on what is in trial.json, too long for a cell
        changed["diagnostics"] = ", ".join(entry.name for entry in trial.diagnostics.of)
    found |= {
        key: value
        for key, value in _flat({**changed, **recipe})
        if key not in ("quantizer.name", "model.name", "data.name")
    }
    return {safe_name(key): _text(value) for key, value in found.items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            inner = prefix if key == "options" else f"{prefix}{key}."
            yield from _flat(value, inner)
        else:
            yield f"{prefix}{key}", value


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:6000]  # MLflow's limit
