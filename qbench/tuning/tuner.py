"""From a plan and the scores so far to the plan with its searches, choices and tuned cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from qbench.study.grid import FLOAT_BITS, Grid, Place
from qbench.study.knobs import knobs
from qbench.study.plan import Attempt, Cell, Choice, Plan
from qbench.study.row import Row
from qbench.study.schema import Bits, DiagnosticsSettings, Training
from qbench.study.spaces import Space
from qbench.study.trial import Trial
from qbench.study.tuning import Tuning
from qbench.study.variants import changed
from qbench.tuning.halving import rungs
from qbench.tuning.searchers import Settings, check_searcher, suggestions
from qbench.tuning.walk import Walk, choice, walk

__all__ = ["UNTUNED", "Score", "Tuner"]

UNTUNED = "untuned"
"""What the rows with their own values are, beside the tuned ones: an ablation of the tuning."""
Score = Callable[[Trial], float | None]
"""The validation accuracy of a trial of a search; ``None`` while it is not done."""


SearchKey = tuple[str, Place, str, int]
"""A row's label, the place of model and data set, bits, and the round."""


@dataclass(frozen=True)
class Search:
    """One round of tuning of one row in one setting."""

    row: Row
    place: Place
    bits: Bits
    round: int
    seed: int
    space: dict[str, Space]

    @property
    def key(self) -> SearchKey:
        """What tells it from the study's other searches."""
        return self.row.label, self.place, str(self.bits), self.round


class Tuner:
    """Knows what a study's searches consist of; all else follows from the scores."""

    def __init__(self, plan: Plan) -> None:
        """Check what is needed.

        Args:
            plan: Of the study as it would be without tuning, or a part of that.

        Raises:
            UsageError: The searcher's library is missing.
        """
        assert plan.study.tuning is not None
        self._plan, self._tuning = plan, plan.study.tuning
        check_searcher(self._tuning.searcher)
        self._grid = Grid(plan.study)
        self._rows = {row.label: row for row in self._grid.rows}
        self._known: dict[tuple[SearchKey, int, str], list[Attempt]] = {}
        self._tuned: dict[tuple[str, str], Row] = {}

    def plan(self, score: Score) -> Plan:
        """The plan, as far as the scores determine it."""
        attempts: list[Attempt] = []
        chosen: dict[SearchKey, Choice] = {}
        left = left_epochs = 0
        for search in self._searches:
            walks, found = self._search(search, score)
            attempts += found
            best = choice(walks)
            if best is None:
                unknown = self._tuning.trials - len(walks)
                left += unknown
                left_epochs += unknown * found[0].trial.training.epochs
            else:
                last = [one for one in found if one.number == best][-1]
                chosen[search.key] = Choice(last, walks[best].score or 0.0)
        cells = list(self._cells(chosen))
        finals = [
            cell.trial.training.epochs
            for cell in self._plan.cells
            for number in self._rounds
            if self._key(cell, number) not in chosen
        ]
        starts = {one.trial.needs for one in attempts if not one.trial.continues}
        return replace(
            self._plan,
            cells=tuple(cells),
            attempts=tuple(attempts),
            search_starts=tuple(trial for name, trial in self._starts.items() if name in starts),
            choices=tuple(chosen.values()),
            open=left + len(finals),
            open_epochs=left_epochs + sum(finals),
        )

    @cached_property
    def _places(self) -> dict[str, Place]:
        """The positions of each cell's model and data set, by its trial's name."""
        names = {cell.trial.name for cell in self._plan.cells}
        return {c.trial.name: place for place, c in self._grid.cells() if c.trial.name in names}

    @cached_property
    def _searches(self) -> list[Search]:
        """A row's own, and that of the row around which an ablation varies."""
        places: dict[tuple[str, Place, str], Bits] = {}
        for cell in self._plan.cells:
            row = self._rows[cell.label]
            bits = cell.trial.bits
            places[row.base or row.label, self._places[cell.trial.name], str(bits)] = bits
        spaces = {label: knobs(self._plan.study, self._rows[label]) for label, *_ in places}
        return [
            Search(self._rows[label], place, bits, number, seed + self._rows[label].seed_offset,
                   spaces[label])
            for (label, place, _), bits in places.items()
            for number, seed in enumerate(self._tuning.seeds(), 1)
        ]  # fmt: skip

    @cached_property
    def _starts(self) -> dict[str, Trial]:
        """By name, the float trials that searches start from."""
        if self._plan.study.start != "float":
            return {}
        made = (self._float(search.place, search.seed) for search in self._searches)
        return {trial.name: trial for trial in made}

    def _float(self, place: Place, seed: int) -> Trial:
        row = self._grid.float_row
        return self._grid.trial(row, place, FLOAT_BITS, seed, "scratch", judged_on="validation")

    def _search(self, search: Search, score: Score) -> tuple[list[Walk], list[Attempt]]:
        """How far each setting got, and the trials that are known."""
        tuning, walks = self._tuning, list[Walk]()
        attempts: list[Attempt] = []
        while True:
            scores = [one.score for one in walks[1:]]
            more = suggestions(
                tuning.searcher, search.space, tuning.trials - 1, search.seed, scores
            )
            settings = [{}, *more]
            if len(settings) == len(walks):
                return walks, attempts
            for number in range(len(walks), len(settings)):
                tried = self._tried(search, number, settings[number])
                one = walk([score(rung.trial) for rung in tried], walks, tuning.reduction)
                walks.append(one)
                attempts += tried[: len(one.scores)]

    def _tried(self, search: Search, number: int, settings: Settings) -> list[Attempt]:
        """The trials of one setting, one a rung."""
        key = (search.key, number, repr(settings))
        if key not in self._known:
            self._known[key] = self._attempts(search, number, settings)
        return self._known[key]

    def _attempts(self, search: Search, number: int, settings: Settings) -> list[Attempt]:
        row = self._set(search.row, settings)
        row = replace(row, training=_shortened(row.training, self._tuning))
        ends: Sequence[int | None] = [None]
        if self._tuning.scheduler == "asha":
            tuning = self._tuning
            reached = rungs(row.training.epochs, tuning.grace_epochs, tuning.reduction)
            ends = [*reached[:-1], None]
        found: list[Attempt] = []
        for until in ends:
            before = found[-1].trial.name if found else ""
            trial = self._search_trial(search, row, until, before)
            found.append(Attempt(trial, row.label, search.round, number, settings, until is None))
        return found

    def _search_trial(self, search: Search, row: Row, until: int | None, before: str) -> Trial:
        if self._plan.study.start == "float" and not row.is_float:
            start = f"trial:{self._float(search.place, search.seed).name}"
        else:
            start = self._grid.start(row, search.place, search.seed)
        return self._grid.trial(
            row, search.place, search.bits, search.seed, start, judged_on="validation",
            until=until, continues=before, diagnostics=DiagnosticsSettings(of=()),
        )  # fmt: skip

    def _set(self, row: Row, settings: Settings) -> Row:
        known = (row.label, repr(settings))
        if known not in self._tuned:
            for key, value in settings.items():
                row = changed(row, key, value, ("tuning", key))
            self._tuned[known] = row
        return self._tuned[known]

    @property
    def _rounds(self) -> range:
        return range(1, self._tuning.rounds + 1)

    def _key(self, cell: Cell, number: int) -> SearchKey:
        """The search that chooses a cell's settings."""
        row = self._rows[cell.label]
        place = self._places[cell.trial.name]
        return row.base or row.label, place, str(cell.trial.bits), number

    def _cells(self, chosen: dict[SearchKey, Choice]) -> Iterator[Cell]:
        """The tuned cells, and those with their own values, which count as an ablation."""
        for cell in self._plan.cells:
            row, own = self._rows[cell.label], cell.trial
            for number in self._rounds:
                found = chosen.get(self._key(cell, number))
                if found is not None:
                    base, settings = self._rows[row.base or row.label], found.attempt.settings
                    tuned = self._set(base, dict(settings) | dict(row.changes))
                    place = self._places[own.name]
                    trial = self._grid.trial(tuned, place, own.bits, own.seed, own.start)
                    yield replace(cell, trial=trial, round=number)
            if not row.ablation:
                yield replace(cell, label=f"{cell.label} [{UNTUNED}]", ablation=UNTUNED)


def _shortened(training: Training, tuning: Tuning) -> Training:
    """The recipe over the search's epochs, its schedule in proportion."""
    if tuning.epochs is None or not training.epochs:
        return training
    share = tuning.epochs / training.epochs
    schedule = training.schedule.model_copy(
        update={
            "warmup_epochs": training.schedule.warmup_epochs * share,
            "milestones": tuple(share * one for one in training.schedule.milestones),
        }
    )
    return training.model_copy(update={"epochs": tuning.epochs, "schedule": schedule})
