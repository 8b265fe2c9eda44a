"""Whether a report is already that of its result files, so that nothing needs to be made again."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import qbench
from qbench.errors import UsageError
from qbench.storage import remote, snapshot
from qbench.store import write_atomic
from qbench.study.plan import Plan

__all__ = ["Report", "Stamp"]

LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "seaborn")
"""Those that a report's bytes depend on."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    folder: Path
    table_text: str
    """The comparison as plain text for a terminal."""
    headline: str
    """The study's answer in one sentence, with its uncertainty."""
    files: tuple[Path, ...]


class Stamp:
    """What a report was made of: names, sizes and times of files, settings, and qbench's code."""

    def __init__(self, plan: Plan, results: Path, folder: Path, told: Sequence[object]) -> None:
        """Look at the files; none of them is read.

        Args:
            plan: The study's plan.
            results: The result store, in which the stamp is kept.
            folder: The report's.
            told: What else goes into the report.
        """
        self._file = results / f".{plan.study.study}.report.json"
        self._folder = folder.resolve()
        seen = snapshot(results)
        parts = [plan.study.model_dump_json(), repr(plan.excluded), json.dumps(told, default=str)]
        parts += [f"{name} {version(name)}" for name in LIBRARIES]
        parts += [f"{c.label} {c.ablation} {c.round} {c.trial.name}" for c in plan.cells]
        parts += [f"{one.label} {one.round} {one.number}" for one in plan.attempts]
        parts += [line for name in plan.trials() for line in (name, *_listing(seen / name))]
        code = Path(qbench.__file__).parent
        self._digest = _digest([*parts, *(path.read_text() for path in sorted(code.rglob("*.py")))])

    def known(self) -> Report | None:
        """The report, if it was made of just these files and still lies there."""
        kept = self._kept()
        try:
            report = Report(
                folder=self._folder,
                table_text=str(kept["table_text"]),
                headline=str(kept["headline"]),
                files=tuple(self._folder / name for name in kept["files"]),
            )
            sizes = [path.stat().st_size for path in report.files]
            same = kept["of"] == self._digest and sizes == list(kept["files"].values())
        except (OSError, TypeError, KeyError, AttributeError):
            return None
        return report if same else None

    def keep(self, report: Report) -> None:
        """Remember the report, and delete figures of an earlier one that it draws no more.

        A store that cannot be written forgets.
        """
        files = {str(path.relative_to(report.folder)): path.stat().st_size for path in report.files}
        before = self._kept().get("figures")
        old = before if isinstance(before, list) else []
        figures = [name for name in files if Path(name).parent != Path()] or old
        for name in set(old) - set(figures):
            path = (self._folder / str(name)).resolve()
            if path.is_relative_to(self._folder):
                path.unlink(missing_ok=True)
        kept = {
            "table_text": report.table_text,
            "headline": report.headline,
            "of": self._digest,
            "folder": str(self._folder),
            "files": files,
            "figures": figures,
        }
        with suppress(OSError, UsageError):
            write_atomic(self._file, json.dumps(kept).encode())

    def _kept(self) -> dict[str, Any]:
        """What was remembered of this folder; empty if that is nothing."""
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) and kept.get("folder") == str(self._folder) else {}


def _listing(folder: Path) -> Iterable[str]:
    if (far := remote(folder)) is not None:
        return sorted(f"{name} {stat.version}" for name, stat in far.files().items())
    try:
        with os.scandir(folder) as entries:
            facts = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ["no folder"]
    return sorted(f"{name} {facts.st_size} {facts.st_mtime_ns}" for name, facts in facts)


def _digest(parts: Iterable[str]) -> str:
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(part.encode())
        whole.update(b"\0")
    return whole.hexdigest()
