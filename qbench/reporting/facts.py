"""What a reader must know to judge a comparison: what was equal, what was not, what is missing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from qbench.errors import UsageError
from qbench.reporting.collect import TrialResult
from qbench.reporting.compare import Comparison, setting_of
from qbench.reporting.document import Entry, Heading, Items, Part, Table, Text
from qbench.reporting.fairness_table import fairness_table
from qbench.reporting.tables import place
from qbench.study.fingerprint import fingerprint
from qbench.study.recipes import PAPER, paper_recipe, recipes
from qbench.study.schema import Study
from qbench.study.trial import Trial
from qbench.tuning.tuner import UNTUNED

__all__ = ["fairness", "without_result"]

SHOWN = 50
"""Lines of a list; the rest is counted, and stands in ``results.csv``."""

HASH = 12
"""Characters of a data set's hash that are shown, as MLflow shows it."""


def fairness(comparison: Comparison) -> Iterator[Part]:
    """What rows differ in, the recipe that they share, float layers, start and exclusions."""
    study = comparison.plan.study
    yield Heading("What was equal, and what was not")
    table = fairness_table(comparison)
    if table is not None:
        yield table
    methods = tuple(_methods(comparison))
    if methods:
        yield Text(f"Rows with options, or with another method for activations{_before(study)}:")
        yield Items(methods)
    by_paper = study.recipe == PAPER  # then they share what the study writes out
    settings = flat(study.training.model_dump(mode="json", exclude_unset=by_paper))
    rows = [(name, [Entry(_words(name, value))]) for name, value in settings.items()]
    if rows:
        caption = f"The training settings that rows share{_before(study)}."
        yield Table("recipe", caption, "setting", [("value",)], rows)
    lines = [*_recipes(study)]
    lines += [f"Images held out of training for validation: {study.data.validation}."]
    if study.data.limit is not None:
        lines.append(f"Training uses {study.data.limit} images only.")
    lines += [
        f"Excluded, {left.count} trials where {left.where}: {left.because}"
        for left in comparison.plan.excluded
    ]
    yield Items((*lines, *_images(comparison), *_audits(comparison), *_code_changes(comparison)))


def _recipes(study: Study) -> Iterator[str]:
    """Where recipes that have a name come from."""
    if study.recipe == PAPER:
        yield "Each row is trained by the recipe of its own paper, unless another is named below."
    elif study.recipe is not None:
        yield f"The rows' recipe is {study.recipe}: {recipes()[study.recipe].source}."
    for entry in study.quantizers:
        by_paper = PAPER in (entry.recipe, study.recipe if entry.recipe is None else None)
        name = paper_recipe(entry.name) if by_paper else entry.recipe
        if name is not None and name in recipes():
            yield f"{entry.label or entry.name} has the recipe {name}: {recipes()[name].source}."


def _before(study: Study) -> str:
    return "" if study.tuning is None else ", as they are before tuning"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _words(name: str, value: object) -> str:
    if value is None:
        return "the data set's own" if name == "augmentation" else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "none"
    return str(value)


def _methods(comparison: Comparison) -> Iterator[str]:
    firsts = {cell.label: cell for cell in reversed(comparison.plan.cells)}
    for label in dict.fromkeys(c.label for c in comparison.plan.cells if c.ablation != UNTUNED):
        cell = firsts.get(f"{label} [{UNTUNED}]", firsts[label])
        trial = cell.trial
        words = [f"{name} = {value}" for name, value in sorted(trial.quantizer.options.items())]
        if trial.activations is not None:
            words.append(f"activations by {trial.activations.name}")
            words += [f"{name} = {v}" for name, v in sorted(trial.activations.options.items())]
        if cell.seed_offset:
            words.append(f"trained with the seeds plus {cell.seed_offset}")
        if words:
            yield f"{label}: {trial.quantizer.name}, {', '.join(words)}"


def _images(comparison: Comparison) -> Iterator[str]:
    """Whether trials of one data set saw the same images, by the hash that each recorded."""
    digests: dict[str, Counter[str]] = {}
    for result in comparison.trials.values():
        data = result.environment.get("data")
        if isinstance(data, Mapping) and data.get("digest"):
            seen = digests.setdefault(result.trial.data.label, Counter())
            seen[str(data["digest"])[:HASH]] += 1
    for name, found in sorted(digests.items()):
        (first, trials), *others = found.most_common()
        if not others:
            yield f"All {trials} trials on {name} saw the same images (hash {first})."
        else:
            counts = "; ".join(f"hash {digest}: {count}" for digest, count in found.most_common())
            yield (
                f"Trials on {name} saw different images, so do not compare them ({counts} trials): "
                "the files of the data set were changed in between."
            )


def _audits(comparison: Comparison) -> Iterator[str]:
    """What deployed networks hold, counted in their files."""
    found = [
        result.audit
        for result in comparison.trials.values()
        if result.state == "done" and _is_counted(result.audit)
    ]
    if not found:
        return
    kept = [_share(one["float_numbers"], one["coded_weights"]) for one in found]
    sizes = [_share(one["float_bytes"], one["coded_bytes"]) for one in found]
    yield (
        f"Audit of {len(found)} deployed networks: no tensor holds more values than its bits stand "
        f"for; {_span(kept)} of a network's numbers stay float (layers left in float, batch norm, "
        f"biases), which are {_span(sizes)} of its bytes."
    )


def _is_counted(audit: Mapping[str, Any]) -> bool:
    counts = [audit.get(f"coded_{what}") for what in ("weights", "bytes")]
    counts += [audit.get(f"float_{what}") for what in ("numbers", "bytes")]
    return all(type(count) is int and count >= 0 for count in counts) and all(counts[:2])


def _share(part: int, rest: int) -> float:
    return 100 * part / (part + rest)


def _span(percentages: list[float]) -> str:
    low, high = f"{min(percentages):.1f}", f"{max(percentages):.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _code_changes(comparison: Comparison) -> Iterator[str]:
    """Rows whose results were made by other code than there is now; they may not be repeatable."""
    old: dict[str, set[str]] = {}
    for result in comparison.trials.values():
        if result.state == "done" and _code_now(result.trial) not in ("", result.code):
            old.setdefault(result.trial.quantizer.name, set()).add(result.code or "unknown")
    for name, codes in sorted(old.items()):
        yield (
            f"Results of {name} were made by other code than is installed now "
            f"(fingerprint {', '.join(sorted(codes))})."
        )


def _code_now(trial: Trial) -> str:
    try:
        return fingerprint(trial)
    except (UsageError, OSError, SyntaxError):  # a plug-in that is not loaded: nothing is known
        return ""


def without_result(comparison: Comparison) -> Iterator[Part]:
    """Every trial that has no result, with its reason; those never run are counted by row."""
    bad = [found for found in comparison.trials.values() if found.state != "done"]
    if not bad:
        return
    labels = {cell.trial.name: cell.label for cell in reversed(comparison.plan.cells)}
    yield Heading("Trials without a result")
    lines: list[str] = []
    never_run: dict[str, int] = {}
    for found in bad:
        label = labels.get(found.trial.name, "float (others start from it)")
        if found.state == "missing":
            never_run[label] = never_run.get(label, 0) + 1
        else:
            lines.append(f"{label}, {_where(found)}: {found.short_reason}: {found.message}")
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"{len(lines) - SHOWN} more; see results.csv"]
    lines += [f"{label}: {count} not run" for label, count in never_run.items()]
    yield Items(tuple(lines))


def _where(found: TrialResult) -> str:
    return f"{place(setting_of(found.trial))}, seed {found.trial.seed}"
