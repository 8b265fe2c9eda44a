"""What a run of a study keeps beside its results for the next one: settings, MLflow's state."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qbench.storage import snapshot
from qbench.store import DECIDING, Status, TrialFolder, write_atomic
from qbench.study.expand import expand
from qbench.study.plan import Plan
from qbench.study.schema import Study
from qbench.study.sentences import show
from qbench.tracking.address import mask

__all__ = ["Remembered"]

SHOWN = 8
"""Changes of a study that are told; of more the number is."""


class Remembered:
    """Reads and writes a study's own files in the result store; a damaged one counts as none."""

    def __init__(self, results: Path, study: str, part: str = "") -> None:
        """Point at them; nothing is read or written.

        Args:
            results: The result store.
            study: The study's name.
            part: The shard, so that parts of one study may run at once.
        """
        self._results = results
        self._stem = f".{study}{part.replace('/', '-of-')}"

    def path(self, ending: str) -> Path:
        """The file of this ending."""
        return self._results / f"{self._stem}.{ending}"

    def tracked(self, uri: str | None) -> dict[str, Any]:
        """What a run left of a tracking store, if that was the one that was opened last.

        ``browse``, and ``trials`` with what the store had taken of each when a run ended.
        """
        kept = self._read("tracked.json")
        return kept if "browse" in kept and kept.get("uri") == mask(uri or "") else {}

    def keep_tracked(
        self, uri: str | None, browse: str, trials: dict[str, Status] | None = None
    ) -> None:
        """Remember a store that was opened; with ``trials``, that it holds all of them so."""
        marker = {"uri": mask(uri or ""), "browse": browse, "trials": trials}
        with suppress(OSError):  # then it is asked again
            write_atomic(self.path("tracked.json"), json.dumps(marker).encode())

    def edits(self, plan: Plan) -> list[str]:
        """What of the study differs from its last run, and what is left of that, as lines."""
        kept = self._read("study.json")
        try:
            before = Study.model_validate_json(json.dumps(kept["study"]))
            trials = [str(name) for name in kept["trials"]]
        except (KeyError, TypeError, ValidationError):
            return []
        changes = list(_changes(_settings(before), _settings(plan.study)))
        if not changes:
            return []
        more = [f"and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
        lines = [f"  edited since the last run: {'; '.join(changes[:SHOWN] + more)}"]
        results = snapshot(self._results, DECIDING)
        done = {name for name in trials if TrialFolder(results, name).status() == "done"}
        if done:
            left = len(done & set(_trials(plan)))
            lines.append(
                f"  {left} of {len(done)} finished trials still belong to the study; all are kept"
            )
        return lines

    def keep_study(self, plan: Plan) -> None:
        """Remember the settings that are run now."""
        settings = _settings(plan.study)
        if self._read("study.json").get("study") != settings:
            whole = {"study": settings, "trials": _trials(plan)}
            with suppress(OSError):  # the next run then tells no change
                write_atomic(self.path("study.json"), json.dumps(whole).encode())

    def _read(self, ending: str) -> dict[str, Any]:
        try:
            kept = json.loads(self.path(ending).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}


def _settings(study: Study) -> dict[str, Any]:
    """As plain values, without a password."""
    settings = study.model_dump(mode="json")
    settings["tracking"]["uri"] = mask(study.tracking.uri or "") or None
    return settings


def _trials(plan: Plan) -> list[str]:
    """The names of the whole study's trials, of which a plan may be a part."""
    return list(expand(plan.study).trials() | plan.trials())


def _changes(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Each setting that differs, by its dotted place."""
    if old == new:
        return
    old, new = _named(old), _named(new)
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield f"{place} {show(old)} is now {show(new)}"
        return
    for key in dict.fromkeys([*old, *new]):
        inner = f"{place}.{key}" if place else key
        if key not in new:
            yield f"{inner} is gone"
        elif key not in old:
            yield f"{inner} is new"
        else:
            yield from _changes(old[key], new[key], inner)


def _named(value: Any) -> Any:
    """A list of named entries by their names, so that a new one does not shift the others."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value
    names = [str(one.get("label") or one.get("name", "")) for one in value]
    unique = all(names) and len(set(names)) == len(names)
    return dict(zip(names, value, strict=True)) if unique else value
