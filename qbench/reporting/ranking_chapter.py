"""The chapter of a report that ranks rows over several settings, and says what that supports."""

from collections import Counter
from collections.abc import Iterator, Sequence

from qbench.reporting.aggregates import Aggregate, improvement, interquartile_mean, resampled
from qbench.reporting.compare import Comparison
from qbench.reporting.document import Entry, Figure, Heading, Items, Mark, Part, Table, Text
from qbench.reporting.numbers import NOTHING, fixed, signed
from qbench.reporting.ranking import Pair, Ranking, Record, rank
from qbench.reporting.ranks import SIGNIFICANT, friedman, smallest_adjusted_p
from qbench.reporting.statistics import MINIMUM_SEEDS
from qbench.reporting.tables import place

__all__ = ["ranking_chapter"]

LONGEST = 33
"""Lines of a table that a page holds; more pairs are cut into parts."""
SHOWN = 20
"""Blocks that a list names; the rest is counted."""
WHERE = "Deployed test accuracy; a block is a model, a data set and bits."
CRITICAL = (
    "Bars join rows of which no pair differs, corrected over all pairs. A bar holds rows with "
    "consecutive ranks only, so two rows without a common bar may still not be told apart."
)
RECORD = "wins / ties / losses"


def ranking_chapter(
    comparison: Comparison, figures: Sequence[tuple[str, Figure]], *, all_pairs: bool = False
) -> Iterator[Part]:
    """The chapter; nothing with fewer than two quantized rows that share two complete blocks.

    Args:
        comparison: The study's results.
        figures: What was drawn, with its kind: ``critical``, ``profile``.
        all_pairs: Whether every pair is tested in the table, in place of each against the baseline.
    """
    ranking = rank(comparison)
    if ranking is None:
        return
    pairs = ranking.all_pairs if all_pairs else ranking.versus_baseline
    yield Heading("Ranking over several settings")
    yield Text(_blocks(ranking))
    counted = tuple(_counted(ranking))
    if counted:
        yield Items(counted)
    yield _ranks(ranking)
    yield from _tests(ranking, pairs, all_pairs)
    drawn = [figure for kind, figure in figures if kind == "critical"]
    if drawn:
        yield Text(CRITICAL)
    yield from drawn
    yield _aggregates(ranking)
    yield from (figure for kind, figure in figures if kind == "profile")


def _blocks(ranking: Ranking) -> str:
    counts = Counter(len(own) for own in ranking.accuracy.values())
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return (
        f"{len(ranking.labels)} quantized rows over {len(ranking.blocks)} blocks; a block is a "
        f"model, a data set and bits. Its seeds, {seeds} here, are averaged first: they are "
        f"replicates inside a block, not samples of it. The baseline is {ranking.baseline}."
    )


def _counted(ranking: Ranking) -> Iterator[str]:
    """What failed, and what was left out."""
    if ranking.failed:
        rows = Counter[str]()
        for label, _, runs, _ in ranking.failed:
            rows[label] += runs
        words = ", ".join(f"{label} {runs}" for label, runs in rows.items())
        yield (
            "A run that failed or was refused counts as an accuracy of 0, so a row without any "
            f"result in a block ranks last there. Such runs: {words}."
        )
    if ranking.left_rows:
        yield f"Left out, since they were not run in every block: {', '.join(ranking.left_rows)}."
    if ranking.left_blocks:
        words = "; ".join(place(setting) for setting in ranking.left_blocks[:SHOWN])
        more = len(ranking.left_blocks) - SHOWN
        words += f"; {more} more" if more > 0 else ""
        yield f"Blocks left out, since not every row of the ranking was run there: {words}."


def _ranks(ranking: Ranking) -> Table:
    columns = ("average rank", "mean minus baseline (points)", "by mean", "by interval")
    rows = []
    for label, average in ranking.average_ranks.items():
        entries = [Entry(fixed(average), value=average)]
        if label == ranking.baseline:
            entries += [Entry("baseline"), Entry(NOTHING), Entry(NOTHING)]
        else:
            (pair,) = (found for found in ranking.versus_baseline if found.row == label)
            entries.append(Entry(signed(pair.difference), value=pair.difference))
            entries.append(_record(ranking.by_mean(label, ranking.baseline)))
            entries.append(_record(ranking.by_interval(label, ranking.baseline)))
        rows.append((label, entries))
    return Table(
        "ranking",
        f"Average ranks over {len(ranking.blocks)} blocks, 1 for the highest accuracy, and blocks "
        f"won, tied and lost against {ranking.baseline}.",
        "quantizer",
        [(name,) for name in columns],
        rows,
        f"{WHERE} By mean: {RECORD} by the mean over seeds; a tie is exact equality. By interval: "
        f"{RECORD}, where a tie is a block whose 95 % t interval of the difference, paired by "
        "seed, includes 0; the intervals are not corrected for their number.",
        _few_seeds(ranking),
    )


def _few_seeds(ranking: Ranking) -> tuple[str, ...]:
    blocks = {
        block for (_, block), own in ranking.accuracy.items() if len(own) < MINIMUM_SEEDS
    }  # fmt: skip
    if not blocks:
        return ()
    return (
        f"{len(blocks)} of {len(ranking.blocks)} blocks have a row with fewer than "
        f"{MINIMUM_SEEDS} seeds, and so no interval for it.",
    )


def _record(found: Record | None) -> Entry:
    if found is None:
        return Entry(NOTHING)
    text = f"{found.wins} / {found.ties} / {found.losses}"
    return Entry(text, value=float(found.wins - found.losses))


def _limit(ranking: Ranking, comparisons: int) -> str:
    smallest = smallest_adjusted_p(len(ranking.blocks), comparisons)
    tests = "1 exact Wilcoxon signed-rank test"
    if comparisons > 1:
        tests = f"{comparisons} exact Wilcoxon signed-rank tests with Holm's correction"
    start = (
        f"The smallest p that {tests} can reach over {len(ranking.blocks)} blocks is {_p(smallest)}"
    )
    if smallest < SIGNIFICANT:
        return f"{start}; a difference is claimed below {SIGNIFICANT}."
    return (
        f"{start}. That is not below {SIGNIFICANT}: whatever the results, these blocks are too few "
        "to tell any two rows apart, and no difference is claimed."
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def _tests(ranking: Ranking, pairs: Sequence[Pair], all_pairs: bool) -> Iterator[Table]:
    possible = smallest_adjusted_p(len(ranking.blocks), len(pairs)) < SIGNIFICANT
    columns = ["mean difference (points)", "blocks", "rank-biserial", "p", "p after Holm"]
    columns += ["claim"] if possible else []
    parts = [pairs[start : start + LONGEST] for start in range(0, len(pairs), LONGEST)]
    what = "every pair of rows" if all_pairs else f"each row against {ranking.baseline}"
    for number, part in enumerate(parts, 1):
        names = [f"{pair.row} − {pair.other}" if all_pairs else pair.row for pair in part]
        yield Table(
            "signed-rank" if len(parts) == 1 else f"signed-rank-{number}",
            f"Wilcoxon's signed-rank test, exact and two-sided, of {what}; Holm's correction, "
            f"tests: {len(pairs)}{f'; part {number} of {len(parts)}' if len(parts) > 1 else ''}. "
            f"{_limit(ranking, len(pairs))}",
            "pair" if all_pairs else "quantizer",
            [(name,) for name in columns],
            [(name, _test(pair, possible)) for name, pair in zip(names, part, strict=True)],
            f"{WHERE} Blocks: those in which the means over seeds differ; the test leaves the "
            "others out. Rank-biserial: matched pairs, from −1 (below in every block) to 1 (above "
            "in every block).",
            tuple(_friedman(ranking)) if number == len(parts) else (),
        )


def _test(pair: Pair, possible: bool) -> list[Entry]:
    test = pair.test
    entries = [
        Entry(signed(pair.difference), value=pair.difference),
        Entry(str(test.n), value=test.n),
        Entry(signed(test.effect), value=test.effect),
        Entry(_p(test.p), value=test.p),
        Entry(_p(pair.adjusted), value=pair.adjusted),
    ]
    return [*entries, _claim(pair)] if possible else entries


def _claim(pair: Pair) -> Entry:
    if pair.adjusted >= SIGNIFICANT:
        return Entry("none")
    mark: Mark = "good" if pair.test.effect > 0 else "bad"
    return Entry(f"{'above' if pair.test.effect > 0 else 'below'} {pair.other}", mark=mark)


def _friedman(ranking: Ranking) -> Iterator[str]:
    found = friedman(ranking.means)
    if found is not None:
        yield (
            "Friedman's test that all rows are alike, corrected for ties: chi-square "
            f"{fixed(found.statistic)} with {len(ranking.labels) - 1} degrees of freedom, p "
            f"{_p(found.p)} (smallest attainable {_p(found.smallest_p)}). The chi-square "
            "approximation is rough with 10 blocks or fewer. No claim rests on it: Holm's "
            "correction holds without it."
        )


def _aggregates(ranking: Ranking) -> Table:
    shares = ranking.shares
    weights = {
        label: resampled(shares.rows[label], stream) for stream, label in enumerate(ranking.labels)
    }
    base = ranking.baseline
    rows = []
    for label in ranking.average_ranks:
        own = shares.rows[label]
        entries = [_aggregate(interquartile_mean(own, weights[label]))]
        if label == base:
            entries.append(Entry("baseline"))
        else:
            found = improvement(own, weights[label], shares.rows[base], weights[base])
            entries.append(_aggregate(Aggregate(*(100 * value for value in found)), 1))
        rows.append((label, entries))
    score = "share of the float network's accuracy (%)" if shares.of_float else "accuracy (%)"
    return Table(
        "aggregates",
        f"Runs of all blocks together: interquartile mean of the {score}, and the probability "
        f"that a run beats one of {base} in its block.",
        "quantizer",
        [("interquartile mean",), (f"beats {base} (%)",)],
        rows,
        _score_words(shares.of_float) + "Brackets: 95 % bootstrap interval over seeds, stratified "
        f"by block, for these blocks only; with fewer than {MINIMUM_SEEDS} seeds in a block there "
        "is none. Interquartile mean: of the middle half of the runs, every block weighing the "
        "same. Beats: pairs of runs of a block, equal ones counting half.",
    )


def _score_words(of_float: bool) -> str:
    if of_float:
        return (
            "Each run is divided by the study's own float network of its model, data set and "
            "seed; runs of seeds without one are left out. "
        )
    return (
        "Accuracies as they are, since not every block has a float network to divide by: blocks "
        "that are hard for every row weigh in. "
    )


def _aggregate(found: Aggregate, digits: int = 2) -> Entry:
    text = fixed(found.value, digits)
    if found.has_interval:
        text += f" [{fixed(found.low, digits)}, {fixed(found.high, digits)}]"
    return Entry(text, value=found.value)
