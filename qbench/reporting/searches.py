"""What the searches of a tuned study tried, reached and cost, from their result files."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from qbench.reporting.collect import phase_seconds
from qbench.store import TrialFolder
from qbench.study.grid import Grid
from qbench.study.knobs import knobs, own_value
from qbench.study.plan import Attempt, Choice, Plan
from qbench.study.rows import Row
from qbench.study.spaces import Space
from qbench.study.trial import Trial
from qbench.tuning.scores import StoredScores
from qbench.tuning.walk import FAILED

__all__ = ["RATE", "Place", "Reading", "Search", "Searches", "Stored", "Tried"]

RATE = "training.optimizer.learning_rate"
"""The knob over which sensitivity is drawn."""
Place = tuple[str, str, str]
"""Model, data set and bits; equal to the comparison's setting."""


class Reading(NamedTuple):
    """What the files of one trial of a search say."""

    score: float | None = None
    """Validation accuracy, a share; -1 of a trial that failed, ``None`` of one that is not done."""
    seconds: float = 0.0
    why: str = ""
    """In a word, why it failed."""


class Stored:
    """Reads trials of searches from a result store; a bad file never stops a report."""

    def __init__(self, results: Path) -> None:
        """Read from there."""
        self._results, self._score = results, StoredScores(results)

    def __call__(self, trial: Trial) -> Reading:
        """What one trial's files say."""
        folder = TrialFolder(self._results, trial.name)
        try:
            score = self._score(trial)
            if score == FAILED:
                failure = folder.failure()
                return Reading(FAILED, why="no result" if failure is None else str(failure.reason))
            if score is None:
                return Reading()
            return Reading(score, math.fsum(phase_seconds(folder).values()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException):
            return Reading()


@dataclass(frozen=True)
class Tried:
    """One setting of a search: the furthest trial of it that is known."""

    attempt: Attempt
    reading: Reading

    @property
    def failed(self) -> bool:
        """Whether it ended without a result."""
        return self.reading.score == FAILED

    @property
    def ended(self) -> bool:
        """Whether there is anything to read."""
        return self.reading.score is not None

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy in percent, where it ran to the end of the search's epochs."""
        score = self.reading.score
        whole = self.attempt.last and score is not None and not self.failed
        return 100 * score if whole and score is not None else None

    @property
    def epochs(self) -> int:
        """Epochs spent; a trial that failed counts with all of its own."""
        return self.attempt.trial.last_epoch if self.ended else 0


@dataclass(frozen=True)
class Search:
    """One round of tuning of one row in one setting."""

    label: str
    place: Place
    round: int
    """From 1."""
    tried: tuple[Tried, ...]
    """By their numbers, from 0."""
    choice: Choice | None
    """``None`` until it has ended."""

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.tried[0].attempt.trial.quantizer.name == "float"

    def best_so_far(self) -> list[float]:
        """The highest accuracy in percent after each trial, as far as all before are known.

        Not a number where none of them has one.
        """
        found: list[float] = []
        best = math.nan
        for one in self.tried:
            if not one.ended:
                break
            if one.accuracy is not None:
                best = one.accuracy if math.isnan(best) else max(best, one.accuracy)
            found.append(best)
        return found


class Searches:
    """The searches of a study; empty where it is not tuned."""

    def __init__(self, plan: Plan, read: Callable[[Trial], Reading]) -> None:
        """Read every trial of the plan's searches once.

        Args:
            plan: The study's plan, as far as it has grown.
            read: What the files of a trial say.
        """
        self._plan = plan
        choices = {
            (one.attempt.label, _place(one.attempt.trial), one.attempt.round): one
            for one in plan.choices
        }
        found: dict[tuple[str, Place, int], dict[int, Tried]] = {}
        self.tried: list[Tried] = []
        """Every trial of every search, those that end at an earlier rung too."""
        for attempt in plan.attempts:
            key = attempt.label, _place(attempt.trial), attempt.round
            one = Tried(attempt, read(attempt.trial))
            self.tried.append(one)
            if one.ended or attempt.number not in found.get(key, {}):
                found.setdefault(key, {})[attempt.number] = one
        self.all = [
            Search(*key, tuple(own[number] for number in sorted(own)), choices.get(key))
            for key, own in found.items()
        ]
        self.start_epochs = sum(trial.last_epoch for trial in plan.search_starts)
        """Of the float networks that searches start from."""

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The rows that are tuned, by label."""
        labels = {search.label for search in self.all}
        every = Grid(self._plan.study).rows if labels else []
        return {row.label: row for row in every if row.label in labels}

    @cached_property
    def spaces(self) -> dict[str, dict[str, Space]]:
        """By row: each knob with its space, by dotted key."""
        return {label: knobs(self._plan.study, row) for label, row in self.rows.items()}

    def groups(self) -> dict[tuple[str, Place], list[Search]]:
        """The rounds of each row in each setting: setting by setting, float first."""
        found: dict[tuple[str, Place], list[Search]] = {}
        for search in self.all:
            found.setdefault((search.label, search.place), []).append(search)
        pairs = list(dict.fromkeys(place[:2] for _, place in found))
        bits = [str(one) for one in self._plan.study.bits]

        def order(key: tuple[str, Place]) -> tuple[int, int]:
            place = key[1]
            return pairs.index(place[:2]), bits.index(place[2]) if place[2] in bits else -1

        return {key: found[key] for key in sorted(found, key=order)}

    def of(self, label: str, place: Place) -> list[Search]:
        """The rounds of a row in a setting; float has the same in every setting of its pair."""
        return [
            search
            for search in self.all
            if search.label == label
            and (search.place == place or (search.is_float and search.place[:2] == place[:2]))
        ]

    def value(self, attempt: Attempt, key: str) -> Any:
        """What a knob was set to in a trial, or the row's own value."""
        own: Mapping[str, Any] = attempt.settings
        return own[key] if key in own else own_value(self.rows[attempt.label], key)

    def spent(self, label: str) -> tuple[int, int, float]:
        """Trials, epochs and seconds that the searches of a row took so far."""
        own = [one for search in self.all if search.label == label for one in search.tried]
        seconds = math.fsum(one.reading.seconds for one in own)
        return sum(one.ended for one in own), sum(one.epochs for one in own), seconds

    def failures(self) -> Counter[str]:
        """How many trials failed, by reason."""
        every = _flat(search.tried for search in self.all)
        return Counter(one.reading.why for one in every if one.failed)


def _place(trial: Trial) -> Place:
    return trial.model.label, trial.data.label, str(trial.bits)


def _flat(parts: Iterable[Iterable[Tried]]) -> list[Tried]:
    return [one for part in parts for one in part]
