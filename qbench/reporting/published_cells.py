"""The cells of the table of published results, and what is said of them below it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from qbench.reporting.document import Entry
from qbench.reporting.numbers import NOTHING, fixed, interval, signed
from qbench.reporting.published import PublishedRow
from qbench.reporting.published_match import Match, Sources
from qbench.reporting.statistics import MINIMUM_SEEDS
from qbench.reporting.tables import problems

__all__ = [
    "DISPUTED", "DOUBTFUL", "disputes", "few_seeds", "hides_float", "inside", "listed",
    "minus_paper", "numbers", "ours", "points", "unread",
]  # fmt: skip

MOST_NUMBERS = 3
"""Of one source in one cell; more are told as a range."""
MOST_LABELS = 4
"""Named in one line; more are counted."""
DISPUTED, DOUBTFUL = "!", "?"
"""Marks behind a number."""


def hides_float(row: PublishedRow, include_recalled: bool) -> bool:
    """Whether the drop is left out because its float accuracy was not read at the source."""
    return row.float_tag not in (None, "verified") and not include_recalled


def points(row: PublishedRow, include_recalled: bool) -> float | None:
    """A row's drop in points, where it is known and may be shown."""
    found = None if hides_float(row, include_recalled) else row.points
    return None if found is None else float(found)


def numbers(rows: Sequence[PublishedRow], sources: Sources, include_recalled: bool) -> Entry:
    """The published numbers of a cell, each source's together, with their marks."""
    by_source: dict[str, list[PublishedRow]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    texts = [
        f"{_of_source(found, include_recalled)} {sources.mark(found[0])}"
        for found in by_source.values()
    ]
    known = [drop for row in rows if (drop := points(row, include_recalled)) is not None]
    return Entry("; ".join(texts) or NOTHING, value=sum(known) / len(known) if known else None)


def _of_source(rows: Sequence[PublishedRow], include_recalled: bool) -> str:
    if len(rows) <= MOST_NUMBERS:
        return ", ".join(_number(row, include_recalled) for row in rows)
    drops = [drop for row in rows if (drop := points(row, include_recalled)) is not None]
    accuracies = [row.top1 for row in rows if row.top1 is not None]
    marks = "".join(dict.fromkeys("".join(_marks(row, include_recalled) for row in rows)))
    span = f"{fixed(min(drops))} to {fixed(max(drops))}" if drops else NOTHING
    behind = f"{min(accuracies)} to {max(accuracies)}; " if accuracies else ""
    return f"{span} ({behind}{len(rows)} numbers){marks}"


def _number(row: PublishedRow, include_recalled: bool) -> str:
    """``5.60 (85.80)``: the drop, and the accuracy as it is printed."""
    drop = points(row, include_recalled)
    accuracy = f" ({row.top1})" if row.top1 is not None else ""
    return f"{NOTHING if drop is None else fixed(drop)}{accuracy}{_marks(row, include_recalled)}"


def _marks(row: PublishedRow, include_recalled: bool) -> str:
    return (DOUBTFUL if unread(row, include_recalled) else "") + (DISPUTED if row.disputed else "")


def unread(row: PublishedRow, include_recalled: bool) -> bool:
    """Whether a shown number, or the float accuracy behind it, was not read at its source."""
    behind = row.float_tag if points(row, include_recalled) is not None else None
    return row.tag != "verified" or behind not in (None, "verified")


def ours(match: Match) -> Entry:
    """Our drop and accuracy, or why there is none."""
    found = match.group.accuracy_estimate
    if not found.n:
        return Entry("; ".join(problems(match.group)) or NOTHING, mark="none")
    seeds = f"{found.n} seed{'s' if found.n > 1 else ''}"
    value = match.drop.mean if match.drop.n else None
    return Entry(f"{interval(match.drop)} ({fixed(found.mean)}; {seeds})", value=value)


def minus_paper(match: Match, include_recalled: bool) -> Entry:
    """Our drop minus the paper's; the range where the paper has several numbers."""
    drops = _paper_drops(match, include_recalled)
    if not drops or not match.drop.n:
        return Entry(NOTHING)
    found = sorted(match.drop.mean - drop for drop in drops)
    texts = dict.fromkeys((signed(found[0]), signed(found[-1])))
    return Entry(" to ".join(texts), value=sum(found) / len(found))


def inside(match: Match, include_recalled: bool) -> Entry:
    """Whether the paper's drop lies in the interval of ours; never with too few seeds."""
    drops = _paper_drops(match, include_recalled)
    if not drops or not match.drop.has_interval:
        return Entry(NOTHING)
    count = sum(match.drop.low <= drop <= match.drop.high for drop in drops)
    if len(drops) == 1:
        return Entry("yes" if count else "no", value=float(count))
    return Entry(f"{count} of {len(drops)}", value=count / len(drops))


def _paper_drops(match: Match, include_recalled: bool) -> list[float]:
    drops = (points(row, include_recalled) for row in match.of("paper"))
    return [drop for drop in drops if drop is not None]


def disputes(matches: Sequence[Match], sources: Sources, include_recalled: bool) -> Iterator[str]:
    """A sentence for each cell in which sources differ on the same thing, with the spread."""
    labels: dict[str, dict[str, None]] = defaultdict(dict)
    for match in matches:
        variants: dict[tuple[str, ...], list[PublishedRow]] = defaultdict(list)
        for row in match.shown:
            if row.disputed:
                variants[_variant(row)].append(row)
        for rows in variants.values():
            told = "; ".join(_told(row, sources, include_recalled) for row in rows)
            labels[f"{match.group.setting.bits}: {_spread(rows)}: {told}"][match.label] = None
    for text, found in labels.items():
        yield f"{DISPUTED} {listed(found)}, {text}"


def listed(labels: Iterable[str]) -> str:
    """Labels as a list that stays short."""
    first, rest = list(labels)[:MOST_LABELS], list(labels)[MOST_LABELS:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _told(row: PublishedRow, sources: Sources, include_recalled: bool) -> str:
    number = _number(row, include_recalled).removesuffix(DISPUTED)
    return f"{number} {sources.mark(row)}" + (f" ({row.note})" if row.note else "")


def _variant(row: PublishedRow) -> tuple[str, ...]:
    names = ("options.", "optimizer", "forward")
    return tuple(sorted(flag for flag in row.flags if flag.startswith(names)))


def _spread(rows: Sequence[PublishedRow]) -> str:
    """``sources differ by 2.1 points of accuracy, 0.4 of drop``; of one number ``disputed``."""
    words = []
    for name, values in (("accuracy", [r.top1 for r in rows]), ("drop", [r.points for r in rows])):
        known = [value for value in values if value is not None]
        if len(known) > 1:
            words.append(f"{max(known) - min(known)} points of {name}")
    return f"sources differ by {', '.join(words)}" if words else "disputed"


def few_seeds(matches: Sequence[Match]) -> bool:
    """Whether ours has a result but no interval somewhere."""
    return any(0 < match.drop.n < MINIMUM_SEEDS for match in matches)
