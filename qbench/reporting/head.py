"""The head of a report and its end: the grid, what ran, what it cost, on what."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qbench.reporting.collect import STATES, TrialResult
from qbench.reporting.compare import Comparison
from qbench.reporting.document import Heading, Items, Part, Text
from qbench.reporting.numbers import duration
from qbench.reporting.tuning_chapter import tuning_summary

__all__ = ["environment", "head", "states"]

Read = Callable[[Mapping[str, Any]], object]

STATE_WORDS = {
    "done": "done",
    "failed": "failed",
    "refused": "refused, not of the bits they claim",
    "unfinished": "not finished",
    "missing": "not run",
    "damaged": "damaged",
}


def head(comparison: Comparison, headline: str) -> Iterator[Part]:
    """Question, answer, grid and what became of it."""
    study = comparison.plan.study
    yield Heading(study.study, level=1)
    yield Text(study.question)
    yield Text(headline, strong=True)
    yield Items(
        (
            f"Quantizers: {', '.join(comparison.labels)}",
            *_axes(comparison),
            f"Trials: {states(comparison)}",
            f"Cost: {_cost(comparison)}",
            *tuning_summary(comparison),
            *_recorded(comparison, MADE_BY),
        )
    )


def _axes(comparison: Comparison) -> Iterator[str]:
    seeds = sorted({cell.seed for cell in comparison.plan.cells})
    settings = comparison.settings
    axes = {
        "Models": dict.fromkeys(setting.model for setting in settings),
        "Data": dict.fromkeys(setting.data for setting in settings),
        "Bits": dict.fromkeys(setting.bits for setting in settings),
        "Seeds": dict.fromkeys(str(seed) for seed in seeds),
    }
    for name, values in axes.items():
        yield f"{name}: {', '.join(values) or 'none'}"


def states(comparison: Comparison) -> str:
    """``24 done, 1 failed (diverged 1)`` of all trials, those that others start from included."""
    results = comparison.trials.values()
    counts = Counter(found.state for found in results)
    reasons = Counter(found.reason for found in results if found.state == "failed")
    words = [f"{counts[state]} {STATE_WORDS[state]}" for state in STATES if counts[state]]
    text = ", ".join(words) or "none"
    if reasons:
        text += f" (failed: {', '.join(f'{n} {why}' for why, n in sorted(reasons.items()))})"
    return text


def _cost(comparison: Comparison) -> str:
    phases: defaultdict[str, float] = defaultdict(float)
    for found in comparison.trials.values():
        for phase, seconds in found.seconds.items():
            phases[phase.split("/")[0]] += seconds
    total = sum(phases.values())
    if not total:
        return "no time is recorded"
    shares = ", ".join(
        f"{name} {100 * seconds / total:.0f} %" for name, seconds in _largest_first(phases)
    )
    return f"{duration(total)} of trials' wall time in all ({shares})"


def _largest_first(counts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def environment(comparison: Comparison, provenance: Mapping[str, Any]) -> Iterator[Part]:
    """How trials ran on their machines, and where the report comes from."""
    yield Heading("How it was run")
    done = _done(comparison)
    lines = _recorded(comparison, RUN_WITH)
    peaks = [found.environment.get("peak_memory_bytes") for found in done]
    largest = max((peak for peak in peaks if isinstance(peak, int)), default=0)
    if largest:
        lines.append(f"Peak memory of a trial: {largest / 2**20:.0f} MiB")
    lines += [f"{name}: {value}" for name, value in provenance.items()]
    places = {(_machine(found.environment), str(found.environment.get("device"))) for found in done}
    if len(places) > 1:
        lines.append("Trials ran on different machines or devices; do not compare their times.")
    yield Items(tuple(lines)) if lines else Text("No trial has recorded where it ran.")


def _done(comparison: Comparison) -> list[TrialResult]:
    return [found for found in comparison.trials.values() if found.state == "done"]


def _recorded(comparison: Comparison, facts: Mapping[str, Read]) -> list[str]:
    done = _done(comparison)
    return [f"{name}: {_counted(done, read)}" for name, read in facts.items() if done]


def _counted(results: list[TrialResult], read: Read) -> str:
    values = Counter(str(read(found.environment) or "unknown") for found in results)
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({count} trials)" for value, count in _largest_first(values))


def _joined(versions: object) -> str:
    if not isinstance(versions, Mapping):
        return ""
    return ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))


def _machine(environment: Mapping[str, Any]) -> str:
    machine = environment.get("machine")
    if not isinstance(machine, Mapping):
        return "unknown"
    return (
        f"{machine.get('processor', 'unknown processor')}, {machine.get('cores', '?')} cores, "
        f"{machine.get('system', 'unknown system')}"
    )


MADE_BY: dict[str, Read] = {
    "Commit": lambda environment: environment.get("commit"),
    "Versions": lambda environment: _joined(environment.get("versions")),
    "Machine": _machine,
}
RUN_WITH: dict[str, Read] = {
    "Device": lambda environment: environment.get("device"),
    "Threads": lambda environment: environment.get("threads"),
    "Engine": lambda environment: environment.get("engine"),
}
