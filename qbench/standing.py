"""Where a study stands: what its result files say, and what is therefore to be run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qbench.errors import UsageError
from qbench.storage import snapshot
from qbench.store import DECIDING, TrialFolder
from qbench.study.fingerprint import fingerprint
from qbench.study.plan import Plan
from qbench.study.trial import Trial

__all__ = ["Standing", "check_begun", "look"]


@dataclass(frozen=True)
class Standing:
    """The trials of a plan, by name, in the order in which they are run."""

    to_run: tuple[Trial, ...]
    """Missing and cut-off trials, and whatever the user asked to do again."""
    done: tuple[str, ...]
    failed: tuple[str, ...]
    """Failed before, and left so."""
    cut_off: tuple[str, ...]
    """Those of ``to_run`` that continue from a checkpoint."""
    other_code: tuple[str, ...]
    """Done, but by another version of their method's code."""
    damaged: Mapping[str, Sequence[str]]
    """Those of ``to_run`` that had ended: the files that are not as they were then."""


def look(plan: Plan, results: Path, *, retry_failed: bool = False, fresh: bool = False) -> Standing:
    """Compare a plan with the result store.

    Args:
        plan: The study's plan.
        results: The result store.
        retry_failed: Run failed trials again.
        fresh: Run everything again.
    """
    groups: dict[str, list[str]] = {
        name: [] for name in ("done", "failed", "cut_off", "other_code")
    }
    results = snapshot(results, [*DECIDING, "trial.json"])
    present = _present(results)
    to_run, damaged = [], {}
    for name, trial in plan.trials().items():
        status = TrialFolder(results, name).status() if name in present else "missing"
        if fresh or status in ("missing", "partial") or (status == "failed" and retry_failed):
            to_run.append(trial)
            if status == "partial" and not fresh:
                groups["cut_off"].append(name)
                if wrong := TrialFolder(results, name).cut_off_files():
                    damaged[name] = wrong
        else:
            groups[status].append(name)
            if status == "done" and _code(results, name) != fingerprint(trial):
                groups["other_code"].append(name)
    names = {group: tuple(found) for group, found in groups.items()}
    return Standing(tuple(to_run), damaged=damaged, **names)


def check_begun(plan: Plan, results: Path) -> None:
    """See to it that a study has left something to be shown.

    Raises:
        UsageError: No trial of the plan has files in the result store.
    """
    if _present(results).isdisjoint(plan.trials()):
        raise UsageError(
            f"no trial of '{plan.study.study}' has files in '{results}'; run it first, or name the "
            "folder of its results with --results"
        )


def _present(results: Path) -> set[str]:
    return {entry.name for entry in results.iterdir()} if results.is_dir() else set()


def _code(results: Path, name: str) -> str | None:
    try:
        text = (results / name / "trial.json").read_text(encoding="utf-8")
        code = json.loads(text)["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(code)
