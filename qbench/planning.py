"""What ``--plan`` prints: how many trials, what varies, what is left out and why, what it costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qbench.console import duration
from qbench.estimate import estimate_costs
from qbench.remembered import Remembered
from qbench.standing import Standing
from qbench.study.plan import Plan

__all__ = ["describe_plan", "notes", "plan_lines", "standing_line"]

SHOWN = 10
"""Damaged trials that are named."""


def describe_plan(plan: Plan, standing: Standing, results: Path, part: str = "") -> dict[str, Any]:
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
        "damaged": {name: list(files) for name, files in standing.damaged.items()},
        "edits": Remembered(results, plan.study.study, part).edits(plan),
        "needed": [trial.name for trial in plan.needed],
        "varies": _varies(plan),
        "excluded": [excluded.__dict__ for excluded in plan.excluded],
        "epochs_to_train": sum(trial.training.epochs for trial in standing.to_run),
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
    lines += notes(facts)
    if to_run:
        lines.append(f"  {_cost(facts)}")
    lines.append(f"  results: {results}")
    return lines


def standing_line(facts: Mapping[str, Any]) -> str:
    """``4 to run, 20 done, 1 failed before (--retry-failed runs it again)``."""
    line = f"{len(facts['to_run'])} to run, {len(facts['done'])} done"
    if facts["failed"]:
        line += f", {len(facts['failed'])} failed before (--retry-failed runs them again)"
    return line


def notes(facts: Mapping[str, Any]) -> list[str]:
    """What is to be known of results that are there: damaged files, edits, other code."""
    lines = [
        f"  {name} is damaged and runs again: not as it was when it ended: {', '.join(files)}"
        for name, files in list(facts["damaged"].items())[:SHOWN]
    ]
    if len(facts["damaged"]) > SHOWN:
        lines.append(f"  and {len(facts['damaged']) - SHOWN} more are damaged and run again")
    lines += facts["edits"]
    if names := facts["other_code"]:
        lines.append(
            f"  {len(names)} results were made by other code of their method, such as {names[0]}; "
            "--fresh makes them again"
        )
    return lines


def _varies(plan: Plan) -> dict[str, list[str]]:
    trials = [cell.trial for cell in plan.cells]
    axes: dict[str, list[str]] = {
        "rows": list(dict.fromkeys(cell.label for cell in plan.cells)),
        "models": list(dict.fromkeys(trial.model.label for trial in trials)),
        "data": list(dict.fromkeys(trial.data.label for trial in trials)),
        "bits": list(dict.fromkeys(str(t.bits) for t in trials if t.quantizer.name != "float")),
        "seeds": [str(seed) for seed in dict.fromkeys(cell.seed for cell in plan.cells)],
    }
    return {name: values for name, values in axes.items() if len(values) > 1}


def _cost(facts: Mapping[str, Any]) -> str:
    epochs = facts["epochs_to_train"]
    if facts["cost_seconds"] is None:
        return f"cost: {epochs:,} epochs; their time is known once a trial of each model is done"
    text = f"cost: {epochs:,} epochs, about {duration(facts['cost_seconds'])} of trial time"
    share = 100 * facts["diagnostics_seconds"] / facts["cost_seconds"]
    if share >= 0.5:
        text += f" ({share:.0f} % of it diagnostics)"
    if facts["diagnostics_unknown"]:
        text += f" without {len(facts['diagnostics_unknown'])} diagnostics not measured so far"
    missing = len(facts["to_run"]) - facts["cost_known_for"]
    if missing:
        text += f" without {missing} trials of models that were not run yet"
    return text + ", shared by as many trials as run side by side"
