"""What searches chose for each row, and what that changed."""

from collections.abc import Iterator, Sequence

from qbench.reporting.collect import ACCURACY
from qbench.reporting.columns import BESIDE
from qbench.reporting.compare import Comparison, Setting, setting_of
from qbench.reporting.document import Entry, Table
from qbench.reporting.knob_words import EDGE, edge, short_names, value_words
from qbench.reporting.numbers import NOTHING, fixed, interval
from qbench.reporting.searches import Place, Search
from qbench.reporting.statistics import MINIMUM_SEEDS, Estimate, estimate, paired_difference
from qbench.reporting.tables import accuracy_entry
from qbench.tuning.tuner import UNTUNED
from qbench.tuning.walk import FAILED

__all__ = ["LONGEST", "Named", "chosen_tables", "gain_tables", "in_parts", "named_groups"]

LONGEST = 33
"""Lines of a table that a page holds."""
OWN = "of the method"
"""The head of knobs that are not those of every row."""
UNKNOWN = "?"
"""Stands for a round that has not chosen yet."""
Named = tuple[str, list[Search]]
"""A line of a table: its name, and the rounds that it is about."""


def named_groups(comparison: Comparison) -> tuple[list[Named], str]:
    """The rounds of each row in each setting with the line's name, and what all lines share."""
    groups = comparison.searches.groups()
    places = [place for _, place in groups]
    varies = [len({place[level] for place in places}) > 1 for level in range(2)]
    lines = []
    for (label, place), rounds in groups.items():
        words = [place[level] for level in (0, 1) if varies[level]]
        lines.append((", ".join((label, *words, place[2])), rounds))
    shared = [places[0][level] for level in (0, 1) if places and not varies[level]]
    return lines, " on ".join(shared)


def in_parts(
    key: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Entry]]],
    legend: str,
    notes: Sequence[str] = (),
) -> Iterator[Table]:
    """A table, cut where a page ends; the notes stand under the last part."""
    starts = range(0, len(rows), LONGEST)
    for number, start in enumerate(starts, 1):
        last = number == len(starts)
        part = f"; part {number} of {len(starts)}" if len(starts) > 1 else ""
        yield Table(
            key if len(starts) == 1 else f"{key}-{number}", f"{caption}{part}.", "quantizer, bits",
            [(name,) for name in columns], rows[start : start + LONGEST], legend,
            tuple(notes) if last else (),
        )  # fmt: skip


def chosen_tables(comparison: Comparison) -> Iterator[Table]:
    """The values that each round chose, one line a row and setting."""
    lines, shared = named_groups(comparison)
    spaces = comparison.searches.spaces
    names = short_names(dict.fromkeys(key for own in spaces.values() for key in own))
    common = [key for key in names if all(key in own for own in spaces.values())]
    others = any(set(own) - set(common) for own in spaces.values())
    rows = []
    for name, rounds in lines:
        own = spaces[rounds[0].label]
        entries = [_values(comparison, rounds, key) for key in common]
        if others:
            words = (
                f"{names[key]} {_values(comparison, rounds, key).text}"
                for key in own
                if key not in common
            )
            entries.append(Entry("; ".join(words) or NOTHING))
        kept = [one.choice.attempt.number == 0 for one in rounds if one.choice is not None]
        entries.append(Entry(f"{sum(kept)} of {len(kept)}" if kept else NOTHING))
        rows.append((name, entries))
    caption = "Values that each round of tuning chose" + (f"; {shared}" if shared else "")
    columns = [
        *(names[key] for key in common),
        *([OWN] if others else []),
        "rounds that kept its own",
    ]
    legend = (
        "The choices of the rounds beside each other. Kept its own: rounds in which no trial was "
        "better than the first, which has the row's own values. With three digits; tuning.csv "
        "has all."
    )
    yield from in_parts("chosen", caption, columns, rows, legend, tuple(_edges(rows)))


def _values(comparison: Comparison, rounds: Sequence[Search], key: str) -> Entry:
    searches, words = comparison.searches, []
    space = searches.spaces[rounds[0].label][key]
    for one in rounds:
        if one.choice is None:
            words.append(UNKNOWN)
            continue
        value = searches.value(one.choice.attempt, key)
        mark = edge(space, value)
        words.append(value_words(value) + (f" {mark}" if mark else ""))
    return Entry(BESIDE.join(words))


def _edges(rows: Sequence[tuple[str, Sequence[Entry]]]) -> Iterator[str]:
    text = " ".join(entry.text for _, entries in rows for entry in entries)
    if "↓" in text or "↑" in text:
        yield (
            "↓ and ↑ mark a choice at the lower or upper edge of its space: in the outer "
            f"{100 * EDGE:.0f} % of a range on its own scale, or beyond it, or the last of listed "
            "numbers. "
            "A better value may lie outside: where rounds agree on an edge, widen the space under "
            "tuning.recipe or tuning.spaces. By chance one draw in five is so marked."
        )
    if UNKNOWN in text:
        yield f"{UNKNOWN} stands for a round that has not chosen yet."


def gain_tables(comparison: Comparison) -> Iterator[Table]:
    """Accuracy with the row's own values beside accuracy with the chosen ones."""
    lines, shared = named_groups(comparison)
    reached = _by_round(comparison)
    rows = [(name, _gain(comparison, rounds, reached)) for name, rounds in lines]
    caption = (
        "Deployed test accuracy in percent with the row's own values and after tuning: mean ± "
        "standard deviation (number of seeds)"
    )
    legend = (
        "Tuned: of each seed the median over rounds, of an even number the lower of the two in "
        "the middle. Δ: tuned minus untuned in points, paired by seed; brackets: 95 % t "
        f"interval over seeds, where {MINIMUM_SEEDS} or more have both; bold: it excludes 0. "
        "Rounds: the lowest and the highest, each the mean over its seeds; how much they differ "
        "is in no interval over seeds. Validation: what each round's choice reached in its "
        "search; as the best of many it is too high by chance."
    )
    columns = ["untuned", "tuned", "Δ (points)", "rounds", "validation"]
    yield from in_parts("tuned", caption + (f"; {shared}" if shared else ""), columns, rows, legend)


def _by_round(comparison: Comparison) -> dict[tuple[str, Place, int], list[float]]:
    """Test accuracies in percent of the seeds of each round, those that have a result."""
    found: dict[tuple[str, Place, int], list[float]] = {}
    for cell in comparison.plan.cells:
        result = comparison.trials[cell.trial.name]
        if cell.round and result.state == "done":
            key = cell.label, setting_of(cell.trial), cell.round
            found.setdefault(key, []).append(100 * result.final[ACCURACY][1])
    return found


def _gain(
    comparison: Comparison,
    rounds: Sequence[Search],
    reached: dict[tuple[str, Place, int], list[float]],
) -> list[Entry]:
    label, setting = rounds[0].label, _column(comparison, rounds[0])
    tuned = comparison.groups.get((label, setting))
    untuned = comparison.groups.get((f"{label} [{UNTUNED}]", setting))
    change = estimate([])
    if tuned is not None and untuned is not None:
        change = paired_difference(tuned.accuracy, untuned.accuracy)
    means = [
        estimate(values).mean
        for one in rounds
        if (values := reached.get((label, one.place, one.round)))
    ]
    words = f"{fixed(min(means))} to {fixed(max(means))}" if means else NOTHING
    return [
        accuracy_entry(untuned),
        accuracy_entry(tuned),
        _difference(change),
        Entry(words, value=min(means) if means else None),
        Entry(BESIDE.join(_score(one) for one in rounds)),
    ]


def _column(comparison: Comparison, search: Search) -> Setting:
    """The setting of the comparison in which a search's results stand; float stands in all."""
    own = Setting(*search.place)
    if not search.is_float or own in comparison.settings:
        return own
    return next(setting for setting in comparison.settings if setting[:2] == own[:2])


def _difference(found: Estimate) -> Entry:
    if not found.n:
        return Entry(NOTHING)
    return Entry(interval(found, sign=True), bold=found.excludes_zero, value=found.mean)


def _score(search: Search) -> str:
    if search.choice is None:
        return UNKNOWN
    score = search.choice.score
    return "failed" if score == FAILED else fixed(100 * score)
