"""What ``--plan`` prints: how many trials, what varies, what is left out and why, what it costs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qbench.console import duration
from qbench.estimate import estimate_costs
from qbench.standing import Standing
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tuning.tuner import UNTUNED

__all__ = ["describe_plan", "plan_lines"]


def describe_plan(plan: Plan, standing: Standing, results: Path) -> dict[str, Any]:
    """The plan as plain values, for ``--json`` and for the lines on the screen."""
    trials = plan.trials()
    estimates = estimate_costs(plan, results, standing.done)
    known = [estimates[trial.name] for trial in standing.to_run if trial.name in estimates]
    diagnostics = sum(one.diagnostics for one in known)
    return {
        "study": plan.study.study,
        "question": plan.study.question,
        "trials": len(trials),
        "to_run": [trial.name for trial in standing.to_run],
        "done": list(standing.done),
        "failed": list(standing.failed),
        "cut_off": list(standing.cut_off),
        "other_code": list(standing.other_code),
        "needed": [trial.name for trial in plan.needed],
        "varies": _varies(plan),
        "excluded": [excluded.__dict__ for excluded in plan.excluded],
        "tuning": _tuning(plan),
        "open": plan.open,
        "epochs_to_train": plan.open_epochs + sum(map(_epochs(trials), standing.to_run)),
        "cost_seconds": sum(one.training for one in known) + diagnostics if known else None,
        "diagnostics_seconds": diagnostics if known else None,
        "diagnostics_unknown": sorted({name for one in known for name in one.unknown}),
        "cost_known_for": len(known),
        "resources": plan.study.resources.model_dump(),
    }


def plan_lines(facts: Mapping[str, Any], results: Path) -> list[str]:
    """The plan for a reader."""
    to_run, cut_off = len(facts["to_run"]), len(facts["cut_off"])
    lines = [f"{facts['study']}: {facts['question']}", "", f"{facts['trials']} trials"]
    if facts["open"]:
        lines[-1] += f" and at most {facts['open']} more, which the search will choose"
    if facts["tuning"]:
        lines.append("  tuning: {searches} searches ({rows} rows, {rounds} rounds) of {trials} "
                     "trials each, {searcher}, {scheduler}; {chosen} have chosen"
                     .format(**facts["tuning"]))  # fmt: skip
    lines += [f"  {name}: {', '.join(values)}" for name, values in facts["varies"].items()]
    if facts["needed"]:
        lines.append(f"  {len(facts['needed'])} float trials that others start from are among them")
    for excluded in facts["excluded"]:
        lines.append(
            f"  excluded: {excluded['count']} with {excluded['where']}, because "
            f"{excluded['because']}"
        )
    lines += ["", standing_line(facts)]
    if cut_off:
        lines.append(f"  {cut_off} of them continue from a checkpoint")
    if facts["other_code"]:
        lines.append(other_code_line(facts["other_code"]))
    if to_run:
        lines.append(f"  {_cost(facts)}")
    lines.append(f"  results: {results}")
    return lines


def _tuning(plan: Plan) -> dict[str, Any] | None:
    tuning = plan.study.tuning
    if tuning is None:
        return None
    places = {(one.label, one.trial.model.label, one.trial.data.label, str(one.trial.bits),
               one.round) for one in plan.attempts}  # fmt: skip
    return {
        "rows": len({label for label, *_ in places}),
        "searches": len(places),
        "chosen": len(plan.choices),
        **tuning.model_dump(include={"rounds", "trials", "searcher", "scheduler"}),
    }


def _epochs(trials: Mapping[str, Trial]) -> Callable[[Trial], int]:
    """What a trial trains beyond the one that it goes on from."""

    def own(trial: Trial) -> int:
        before = trials.get(trial.continues)
        return trial.last_epoch - (0 if before is None else before.last_epoch)

    return own


def standing_line(facts: Mapping[str, Any]) -> str:
    """``4 to run, 20 done, 1 failed before (--retry-failed runs it again)``."""
    line = f"{len(facts['to_run'])} to run, {len(facts['done'])} done"
    if facts["failed"]:
        line += f", {len(facts['failed'])} failed before (--retry-failed runs them again)"
    return line


def other_code_line(names: list[str]) -> str:
    """The sentence about results that another version of a method made."""
    return (
        f"  {len(names)} results were made by other code of their method, such as {names[0]}; "
        "--fresh makes them again"
    )


def _varies(plan: Plan) -> dict[str, list[str]]:
    trials = [cell.trial for cell in plan.cells]
    axes: dict[str, list[str]] = {
        "rows": list(
            dict.fromkeys(cell.label.removesuffix(f" [{UNTUNED}]") for cell in plan.cells)
        ),
        "models": list(dict.fromkeys(trial.model.label for trial in trials)),
        "data": list(dict.fromkeys(trial.data.label for trial in trials)),
        "bits": list(dict.fromkeys(str(t.bits) for t in trials if t.quantizer.name != "float")),
        "seeds": [str(seed) for seed in dict.fromkeys(cell.seed for cell in plan.cells)],
    }
    return {name: values for name, values in axes.items() if len(values) > 1}


def _hours(facts: Mapping[str, Any], seconds: float) -> str:
    """``12.5 GPU hours`` of trials that take so many seconds in all."""
    gpus = facts["resources"]["gpus"]
    return f"{seconds * (gpus or 1) / 3600:,.1f} {'GPU ' if gpus else ''}hours"


def _cost(facts: Mapping[str, Any]) -> str:
    epochs = facts["epochs_to_train"]
    if facts["cost_seconds"] is None:
        hours = f"{_hours(facts, epochs)} for each second that an epoch takes"
        return f"cost: {epochs:,} epochs, {hours}; known once a trial of each model is done"
    text = f"cost: {epochs:,} epochs, about {duration(facts['cost_seconds'])} of trial time"
    if facts["resources"]["gpus"]:
        text += f", {_hours(facts, facts['cost_seconds'])}"
    share = 100 * facts["diagnostics_seconds"] / facts["cost_seconds"]
    if share >= 0.5:
        text += f" ({share:.0f} % of it diagnostics)"
    if facts["diagnostics_unknown"]:
        text += f" without {len(facts['diagnostics_unknown'])} diagnostics not measured so far"
    missing = len(facts["to_run"]) - facts["cost_known_for"]
    if facts["open"]:
        text += f" without {facts['open']} trials that are not known yet"
    if missing:
        text += f" without {missing} trials of models that were not run yet"
    return text + ", shared by as many trials as run side by side"
