"""The metrics of a trial as MLflow shows them, read from the trial's files."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from qbench.registry import diagnostics
from qbench.storage import version_of
from qbench.store import PhaseRow, Row, TrialFolder
from qbench.tracking.content import safe_name

__all__ = ["History", "Point", "images_of", "read_facts", "read_history", "signature"]

SERIES, FINALS, COSTS = 13, 7, 10  # together 30 keys a run: the UI slows down beyond
FINAL_ORDER = ("test/accuracy", "test/gap", "test/accuracy_reestimated", "test/loss")
COUNTED = (  # of the costs in audit.json
    "bops", "flops", "kernels", "macs", "weight_bits", "activation_bits",
)  # fmt: skip
DIGITS = 6  # of single values, which the UI shows in full; test sets have 10,000 images


class Point(NamedTuple):
    """One value of a metric; a second one that is equal in all four is stored once."""

    key: str
    value: float
    milliseconds: int
    """Unix time at which the epoch ended, read from the files: logging again repeats it."""
    step: int
    """The epoch; 0 for single values, of which MLflow draws bars where their step is 0."""


@dataclass(frozen=True)
class History:
    """The metrics of a trial as far as its files go."""

    series: tuple[Point, ...] = ()
    """One value an epoch, of epochs whose time is known."""
    finals: tuple[Point, ...] = ()
    """``final/…`` and ``cost/…``, once."""
    left_out: tuple[str, ...] = ()
    """Series beyond the limit of keys; they are in the artifact ``history.parquet``."""
    begun: str = ""
    """When the first phase of the first epoch ended: another training has another."""
    started: int = 0
    """Unix milliseconds; 0 while unknown."""
    ended: int = 0

    @property
    def last_epoch(self) -> int:
        """The last epoch that is in ``series``; -1 before the first."""
        return max((point.step for point in self.series), default=-1)


def read_history(folder: TrialFolder) -> History:
    """Read the metrics of a trial, whether it is finished or not.

    Raises:
        ValueError: A file is damaged.
    """
    phases = [PhaseRow(**row) for row in _rows(folder, "seconds.parquet")]
    rows = [Row(**row) for row in _rows(folder, "history.parquet")]
    if not phases:
        return History()
    times: dict[int, int] = {}
    for phase in phases:  # later phases of an epoch must not move the time of its points
        time = round(phase.ended * 1000)
        times[phase.epoch] = min(time, times.get(phase.epoch, time))
    first = min(phases, key=lambda phase: phase.ended)
    names = _headlines_first(row.name for row in rows if not row.name.startswith("test/"))
    shown = set(names[:SERIES])
    finals, costs = _finals(rows), _costs(folder, phases)
    singles = [*finals[:FINALS], *costs[:COSTS]]
    end = times[max(times)]
    return History(
        series=tuple(
            Point(safe_name(row.name), row.value, times[row.epoch], row.epoch)
            for row in rows
            if row.name in shown and row.epoch in times
        ),
        finals=tuple(Point(key, float(f"{value:.{DIGITS}g}"), end, 0) for key, value in singles),
        left_out=tuple(names[SERIES:]),
        begun=repr(first.ended),
        started=round((first.ended - first.seconds) * 1000),
        ended=round(max(phase.ended for phase in phases) * 1000),
    )


def signature(folder: TrialFolder) -> tuple[object, ...]:
    """Versions of the files whose rows :func:`read_history` takes."""
    found = []
    for name in ("history.parquet", "seconds.parquet"):
        with suppress(FileNotFoundError):  # no checkpoint so far
            found.append(version_of(folder.path / name))
    return tuple(found)


def images_of(folder: TrialFolder) -> dict[str, Any]:
    """Name, digest and source of a trial's images; empty until it ends, and of older results."""
    data = read_facts(folder, "environment.json").get("data")
    return data if isinstance(data, dict) and data.get("digest") else {}


def read_facts(folder: TrialFolder, name: str) -> dict[str, Any]:
    """What a JSON file says; empty where it is not written so far."""
    try:
        return folder.read_json(name)
    except OSError:
        return {}


def _finals(rows: list[Row]) -> list[tuple[str, float]]:
    tests = {row.name: row.value for row in rows if row.name.startswith("test/")}
    lasts = {row.name: row.value for row in rows if row.name.startswith("validation/")}
    order = [name for name in FINAL_ORDER if name in tests]
    names = list(dict.fromkeys([*order, *tests, *sorted(lasts)]))
    return [(safe_name(f"final/{name}"), (tests | lasts)[name]) for name in names]


def _headlines_first(names: Iterable[str]) -> list[str]:
    """Names once each: of training and validation, then those that diagnostics put first.

    Standard errors come last.
    """
    facts = [entry.facts.get("tracked", ()) for entry in diagnostics.entries().values()]
    tracked = {name for names_of_one in facts for name in names_of_one}

    def rank(name: str) -> int:
        if name.startswith(("train/", "validation/")):
            return 0
        return 1 if name in tracked else 3 if name.endswith("_se") else 2

    return sorted(dict.fromkeys(names), key=rank)


def _costs(folder: TrialFolder, phases: list[PhaseRow]) -> list[tuple[str, float]]:
    """Seconds, then what the trial's files count, as far as they do; the most telling first."""
    totals: dict[str, float] = {}
    for phase in phases:
        name = phase.phase.split("/")[0]  # diagnostics together
        totals[name] = totals.get(name, 0.0) + phase.seconds
    ranked = sorted(totals.items(), key=lambda total: (total[0] != "train", -total[1]))
    first, *others = [(f"{phase}_seconds", seconds) for phase, seconds in ranked]
    audit, environment = read_facts(folder, "audit.json"), read_facts(folder, "environment.json")
    counted = {name: audit.get("cost", {}).get(name) for name in COUNTED}
    counted["peak_memory_bytes"] = environment.get("peak_memory_bytes")
    if "coded_bytes" in audit:
        counted["deployed_bytes"] = audit["coded_bytes"] + audit["float_bytes"]
    costs = [("total_seconds", sum(totals.values())), first, *counted.items(), *others]
    return [
        (safe_name(f"cost/{name}"), float(value))
        for name, value in costs
        if isinstance(value, int | float)
    ]


def _rows(folder: TrialFolder, name: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = folder.read_table(name).to_pylist()
    except FileNotFoundError:
        return []  # no checkpoint so far
    return rows
