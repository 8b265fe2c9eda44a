"""A report's chapter that puts published results beside those of the study.

It compares drops from each source's own float network, since accuracies depend on the recipe, and
it never says that a result is reproduced: it shows numbers, differences and protocols.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Entry, Heading, Items, Part, Table, Text
from qbench.reporting.published import PublishedRow
from qbench.reporting.published_cells import (
    DISPUTED,
    DOUBTFUL,
    disputes,
    few_seeds,
    hides_float,
    inside,
    listed,
    minus_paper,
    numbers,
    ours,
    unread,
)
from qbench.reporting.published_match import Match, Sources, find_matches
from qbench.reporting.published_protocol import descriptions, differences, is_known
from qbench.reporting.statistics import MINIMUM_SEEDS

__all__ = ["published_chapter"]

FAR_FEWER = 0.5
"""Ours are far fewer epochs where they are below this share of those that a source states."""
LEGEND = (
    "A drop is the accuracy of the float network minus that of the quantized one, both of one "
    "source, in points: above 0, accuracy is lost. Behind it, in parentheses: the quantized "
    "network's accuracy in percent. Paper: the method's own publication or code. Quoted, re-run: "
    "another paper's table, or somebody's own training. Ours: this study, paired by seed; "
    f"brackets: 95 % t interval over seeds, where there are {MINIMUM_SEEDS} or more."
)
HEADS = ("paper", "quoted, re-run", "ours", "ours minus paper", "paper in our interval")


def published_chapter(
    comparison: Comparison,
    *,
    include_recalled: bool = False,
    table: Sequence[PublishedRow] | None = None,
) -> Iterator[Part]:
    """The chapter; nothing where no row of the study has a published number in its settings.

    Args:
        comparison: The study's results.
        include_recalled: Show numbers that nobody read at their source too, marked.
        table: Other published numbers than the packaged ones.
    """
    matches = list(find_matches(comparison, include_recalled=include_recalled, table=table))
    shown = [match for match in matches if match.shown]
    notes = tuple(_notes(comparison, matches, include_recalled))
    if not matches:
        return
    yield Heading("Beside published results")
    if not shown:
        yield Items(notes)
        return
    sources = Sources()
    yield Text(_caveat(shown))
    yield _table(shown, sources, include_recalled, notes)
    yield Text(
        "Protocols, as far as they are known; where nothing is told of a source, it may differ:"
    )
    yield Items(tuple(_protocols(shown, sources)))
    yield Text("Sources:")
    yield Items(tuple(sources.lines()))


def _caveat(matches: Sequence[Match]) -> str:
    limits = [match.trial.data.limit for match in matches if match.trial.data.limit is not None]
    why = [f"it trains on {min(limits)} images only"] if limits else []
    least, stated, label = min(_epochs(matches), default=(1, 1, ""), key=lambda x: x[0] / x[1])
    if least < FAR_FEWER * stated:
        why.append(
            f"it trains for far fewer epochs ({label}: {least}, where a source has {stated})"
        )
    if why:
        return (
            f"This study is not a reproduction: {', and '.join(why)}. Published numbers stand "
            "beside it to show how far apart the recipes are."
        )
    return (
        "Published numbers beside those of this study. What counts is the drop from each source's "
        "own float network, since accuracies depend on the recipe. Nothing here says that a result "
        "is reproduced."
    )


def _epochs(matches: Sequence[Match]) -> list[tuple[int, int, str]]:
    """Ours and those that a source states; of papers, or of others where no paper states any."""
    found: dict[bool, list[tuple[int, int, str]]] = {True: [], False: []}
    for match in matches:
        for row in match.shown:
            stated = row.flag("epochs")
            if stated is not None:
                pair = (match.trial.training.epochs, int(stated), match.label)
                found[row.kind == "paper"].append(pair)
    return found[True] or found[False]


def _table(
    matches: Sequence[Match], sources: Sources, include_recalled: bool, notes: Sequence[str]
) -> Table:
    settings = list(dict.fromkeys(match.group.setting for match in matches))
    varies = [len({setting[level] for setting in settings}) > 1 for level in range(3)]
    rows = []
    for match in matches:
        place = [text for text, told in zip(match.group.setting, varies, strict=True) if told]
        entries = _entries(match, sources, include_recalled)
        rows.append((" · ".join([_name(match), *place]), entries))
    constant = [text for text, told in zip(settings[0], varies, strict=True) if not told]
    caption = "Published drops from float, and ours, in points"
    caption += f"; {', '.join(constant)}." if constant else "."
    heads = [(head,) for head in HEADS]
    below = [*disputes(matches, sources, include_recalled), *notes]
    return Table("published", caption, "quantizer", heads, rows, LEGEND, below)


def _entries(match: Match, sources: Sources, include_recalled: bool) -> list[Entry]:
    return [
        numbers(match.of("paper"), sources, include_recalled),
        numbers(match.of("quoted", "rerun"), sources, include_recalled),
        ours(match),
        minus_paper(match, include_recalled),
        inside(match, include_recalled),
    ]


def _name(match: Match) -> str:
    """The row's label, with the method and its options where the label does not tell them."""
    method = match.trial.quantizer.label
    return match.label if match.label.startswith(method) else f"{match.label} [{method}]"


def _notes(
    comparison: Comparison, matches: Sequence[Match], include_recalled: bool
) -> Iterator[str]:
    every = {row for match in matches for row in match.shown}
    if any(unread(row, include_recalled) for row in every):
        yield (
            f"{DOUBTFUL}: recalled, or read in notes about the source; of a drop this can be the "
            "float accuracy alone."
        )
    if any(row.disputed for row in every):
        yield f"{DISPUTED}: another source has another number for the same thing."
    if any(_name(match) != match.label for match in matches):
        yield "[…]: the row's method, and options that published numbers need not share."
    for text, rows in (
        ("recalled, or read in notes about the source", {r for m in matches for r in m.recalled}),
        ("of another variant (options, optimizer, best epoch, distillation, changed network), "
         "where a nearer one is shown",
         {row for match in matches for row in match.unlike} - every),
    ):  # fmt: skip
        if rows:
            yield f"{_count(len(rows), 'published number')} not shown: {text}."
    floats = sum(hides_float(row, include_recalled) for row in every)
    if floats:
        yield f"{_count(floats, 'drop')} not shown: the float accuracy was not read at its source."
    if few_seeds(matches):
        yield f"Ours has no interval where there are fewer than {MINIMUM_SEEDS} seeds."
    known = {match.label for match in matches}
    rest = [x for x in comparison.labels if x not in known and not comparison.is_float(x)]
    if rest:
        yield f"Without a published number in these settings: {', '.join(rest)}."


def _count(count: int, word: str) -> str:
    return f"{count} {word} is" if count == 1 else f"{count} {word}s are"


def _protocols(matches: Sequence[Match], sources: Sources) -> Iterator[str]:
    """One line for the numbers of a source whose protocol differs from ours in the same way."""
    cells: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for match in matches:
        for row in match.shown:
            place = f"{sources.mark(row)}, {row.model} on {row.data}"
            value = "drop" if row.top1 is None else str(row.top1)
            cells[match.label, place, _words(row, match)][f"{row.bits} {value}"] = None
    labels: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (label, place, words), numbers_of in cells.items():
        labels[place, ", ".join(numbers_of), words].append(label)
    unknown = []
    for (place, told, words), names in labels.items():
        if words:
            yield f"{listed(names)} beside {place} ({told}): {words}."
        else:
            unknown.append(f"{listed(names)} beside {place} ({told})")
    if unknown:
        yield f"Of these numbers no protocol is known: {'; '.join(unknown)}."


def _words(row: PublishedRow, match: Match) -> str:
    """What is known of a number's protocol; empty where nothing is."""
    known = differences(row, match.trial)
    if is_known(row):
        known = known or ["no difference in what is known"]
    return "; ".join([*known, *descriptions(row)])
