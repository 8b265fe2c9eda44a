"""What a suite finds, as values and as files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Outcome", "Record", "Setting", "Table", "read_records", "write_record"]

Cell = str | float | int | None
"""``None`` is what could not be measured."""


@dataclass(frozen=True)
class Setting:
    """How a suite runs."""

    device: str = "cpu"
    quick: bool = False
    """Tiny sizes: everything runs, and the numbers say nothing."""


@dataclass(frozen=True)
class Table:
    """Rows with a title; columns name their units."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What one must know to read it."""


@dataclass(frozen=True)
class Outcome:
    """What a suite measured."""

    tables: tuple[Table, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    """Values of the figures to reach, by the keys of :mod:`qbench.bench.goals`."""


@dataclass(frozen=True)
class Record:
    """An outcome with where, when and how it was measured."""

    suite: str
    command: str
    date: str
    """UTC, ISO 8601."""
    quick: bool
    device: str
    load: tuple[float, ...]
    """The machine's load average over 1, 5 and 15 minutes, before the suite ran."""
    commit: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    outcome: Outcome

    @property
    def stem(self) -> str:
        """The name of its file; a suite that runs on more than one device has one for each."""
        one_device = self.device == "cpu" or self.suite == "gpu"
        return self.suite if one_device else f"{self.suite}_{self.device}"


def write_record(record: Record, folder: Path) -> Path:
    """Write ``<suite>.json`` into ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.stem}.json"
    path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    return path


def read_records(folder: Path, suites: Sequence[str]) -> list[Record]:
    """The records in ``folder``, in the order of ``suites``, those of the CPU first."""
    found = []
    for suite in suites:
        for path in (folder / f"{suite}.json", folder / f"{suite}_cuda.json"):
            if path.is_file():
                found.append(_record(json.loads(path.read_text(encoding="utf-8"))))
    return found


def _record(data: dict[str, Any]) -> Record:
    outcome = data.pop("outcome")
    tables = tuple(
        Table(
            table["title"],
            tuple(table["columns"]),
            tuple(tuple(row) for row in table["rows"]),
            table["note"],
        )
        for table in outcome["tables"]
    )
    load = tuple(data.pop("load"))
    return Record(**data, load=load, outcome=Outcome(tables, outcome["figures"]))
