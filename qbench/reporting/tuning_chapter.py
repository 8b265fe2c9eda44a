"""The chapter on tuning: what was searched and chosen, what it changed, how much values matter."""

from collections.abc import Iterator, Sequence

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Figure, Heading, Items, Part, Text
from qbench.reporting.knob_words import short_names, space_words
from qbench.reporting.numbers import duration
from qbench.reporting.sensitivity import sensitivity_tables
from qbench.reporting.tuning_tables import chosen_tables, gain_tables
from qbench.study.schema import Study
from qbench.study.tuning import Tuning

__all__ = ["tuning_chapter", "tuning_summary"]

SEARCHERS = {
    "random": "drawn at random",
    "optuna": "suggested by Optuna's tree-structured Parzen estimator, after random ones",
    "grid": "of a grid",
}


def tuning_chapter(comparison: Comparison, figures: Sequence[tuple[str, Figure]]) -> Iterator[Part]:
    """The chapter; nothing for a study that is not tuned.

    Args:
        comparison: The study's results.
        figures: What was drawn, with its kind: ``tuning``, ``sensitivity``.
    """
    study = comparison.plan.study
    if study.tuning is None:
        return
    yield Heading("Tuning")
    yield Text(_rule(study, study.tuning))
    if comparison.plan.open:
        yield Text(_unfinished(comparison), strong=True)
    if not comparison.searches.all:
        return
    yield Items((*_spent(comparison), *_spaces(comparison)))
    yield from gain_tables(comparison)
    yield from chosen_tables(comparison)
    yield from (figure for kind, figure in figures if kind == "tuning")
    yield Heading("Sensitivity", level=3)
    yield from sensitivity_tables(comparison)
    yield from (figure for kind, figure in figures if kind == "sensitivity")


def tuning_summary(comparison: Comparison) -> Iterator[str]:
    """For a report's head: one line of a study that is tuned."""
    tuning = comparison.plan.study.tuning
    if tuning is None:
        return
    searches = comparison.searches
    seconds = sum(searches.spent(label)[2] for label in searches.rows)
    unfinished = f"; not finished: {_chosen(comparison)}" if comparison.plan.open else ""
    yield (
        f"Tuning: every row alike, {_rounds(tuning.rounds)} of {_trials(tuning.trials)} in each "
        f"setting; {duration(seconds)} of trials' wall time in searches, beside the cost "
        f"above{unfinished}"
    )


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _rule(study: Study, tuning: Tuning) -> str:
    """In words, what was the same for all rows."""
    seeds = tuning.seeds()
    ends = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    epochs = "as many epochs as the row's recipe"
    if tuning.epochs is not None:
        epochs = "1 epoch" if tuning.epochs == 1 else f"{tuning.epochs} epochs"
    schedule = "Every trial runs to its end."
    if tuning.scheduler == "asha":
        schedule = (
            "By successive halving (asha) a trial goes on past a rung only as one of the best 1 in "
            f"{tuning.reduction} that came to it; the first rung is epoch {tuning.grace_epochs}."
        )
    median = ""
    if tuning.rounds > 1:
        median = "; of what the rounds reach the report takes the median, seed by seed"
    return (
        f"Every row, float included, is tuned by one rule and budget: in each setting "
        f"{_rounds(tuning.rounds)} of search, independent of each other, of "
        f"{_trials(tuning.trials)} each over {epochs}. A row with more knobs gets no more. The "
        "first trial of a round has the row's own values; the others are "
        f"{SEARCHERS[tuning.searcher]}. {schedule} Trials of searches train with {ends}, which no "
        f"final run has, and are judged by the deployed network's accuracy on "
        f"{study.data.validation} held-out images; the test set is not opened. The best trial of a "
        f"round sets the values of its final runs{median}."
    )


def _chosen(comparison: Comparison) -> str:
    every = len(comparison.searches.all)
    return f"{len(comparison.plan.choices)} of {every} searches have chosen"


def _unfinished(comparison: Comparison) -> str:
    left = comparison.plan.open
    return (
        f"Tuning is not finished: {_chosen(comparison)}, and up to {_trials(left)} are not known "
        "yet. All tables show what is known so far; tuned rows stand in them with the rounds that "
        "have chosen, and a row without any is left out of the comparison."
    )


def _spent(comparison: Comparison) -> Iterator[str]:
    """What the searches took."""
    searches = comparison.searches
    spent = [searches.spent(label) for label in searches.rows]
    trials, epochs, seconds = (sum(one[place] for one in spent) for place in range(3))
    tuning = comparison.plan.study.tuning
    budget = 0 if tuning is None else tuning.trials * len(searches.all)
    failures = searches.failures()
    failed = "none failed"
    if failures:
        reasons = ", ".join(f"{why} {count}" for why, count in sorted(failures.items()))
        failed = f"{failures.total()} of them failed and count as spent ({reasons})"
    yield f"{_chosen(comparison)}."
    yield f"Trials spent: {trials} of {budget}; {failed}."
    starts = searches.start_epochs
    also = f", and {starts} of the float networks that they start from" if starts else ""
    yield f"Epochs trained in searches: {epochs}{also}; {duration(seconds)} of wall time."


def _spaces(comparison: Comparison) -> Iterator[str]:
    """What was searched; spaces that all rows share stand once."""
    spaces = comparison.searches.spaces
    names = short_names(dict.fromkeys(key for own in spaces.values() for key in own))
    shared = [key for key in names if len({str(own.get(key, "")) for own in spaces.values()}) == 1]
    if shared:
        own = next(iter(spaces.values()))
        words = "; ".join(f"{names[key]}: {space_words(own[key])}" for key in shared)
        yield f"Searched in all rows: {words}."
    for label, own in spaces.items():
        words = "; ".join(
            f"{names[k]}: {space_words(s)}" for k, s in own.items() if k not in shared
        )
        if words:
            yield f"Searched in {label}: {words}."
