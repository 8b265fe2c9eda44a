"""The tables of a comparison: accuracy over all settings, details of one, ablations."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from qbench.reporting.compare import Comparison, Group, Setting
from qbench.reporting.document import Entry, Table
from qbench.reporting.footnotes import Footnotes
from qbench.reporting.numbers import NOTHING, interval, plus_minus
from qbench.reporting.statistics import MINIMUM_SEEDS, Estimate, estimate, paired_difference

__all__ = [
    "FULL_WIDTH", "ablation_tables", "accuracy_entry", "column_heads", "comparison_tables",
    "detail_table", "parts", "place", "problems",
]  # fmt: skip

DETAIL_LEGEND = (
    "Accuracy: of the deployed network on the test set, after the last epoch. Gap: accuracy of the "
    "training forward minus deployed. Re-estimated: deployed accuracy after batch-norm "
    "re-estimation. Validation: deployed accuracy on held-out images after the last epoch, and "
    "after the epoch at which that was highest; the best one shows what early stopping could give, "
    f"and is compared nowhere. Brackets: 95 % t interval over seeds; with fewer than "
    f"{MINIMUM_SEEDS} seeds there is no interval, and no claim that rows differ. ±: standard "
    "deviation."
)
FULL_WIDTH = 6
"""Columns of a table; more are cut into parts, so that a page holds each."""


def place(setting: Setting) -> str:
    """``resnet20 on cifar100, W1A32``."""
    return f"{setting.model} on {setting.data}, {setting.bits}"


def problems(group: Group) -> list[str]:
    """``failed: diverged (1 of 2)`` for each reason why seeds have no result."""
    planned = len(group.results)
    return [f"{reason} ({count} of {planned})" for reason, count in group.problems.items()]


def accuracy_entry(group: Group | None, *, bold: bool = False) -> Entry:
    """Mean ± standard deviation (number of seeds), with the reasons why some have no result."""
    if group is None:
        return Entry(NOTHING)
    found = group.accuracy_estimate
    words = [f"{plus_minus(found)} ({found.n})"] if found.n else []
    value = found.mean if found.n else None
    return Entry("; ".join(words + problems(group)), bold=bold, value=value)


def comparison_tables(
    comparison: Comparison, footnotes: Footnotes, width: int = FULL_WIDTH
) -> list[Table]:
    """Deployed test accuracy of every row in every setting, in parts of ``width`` columns."""
    tables = []
    cut = list(parts(comparison.settings, width))
    for number, settings in enumerate(cut, 1):
        columns, constant = column_heads(settings, comparison.settings)
        marked = {setting: comparison.marked(setting) for setting in settings}
        rows = [
            (
                footnotes.marked(label),
                [
                    accuracy_entry(group, bold=group in marked[s])
                    for s in settings
                    for group in [comparison.groups.get((label, s))]
                ],
            )
            for label in comparison.labels
        ]
        caption = "Deployed test accuracy in percent: mean ± standard deviation (number of seeds)"
        caption += f"; {constant}" if constant else ""
        caption += f"; part {number} of {len(cut)}" if len(cut) > 1 else ""
        notes = [*_bold_notes(comparison, settings, marked), *footnotes.notes]
        key = "comparison" if len(cut) == 1 else f"comparison-{number}"
        tables.append(Table(key, f"{caption}.", "quantizer", columns, rows, notes=notes))
    return tables


def parts(settings: Sequence[Setting], width: int) -> Iterator[Sequence[Setting]]:
    """Parts of at most ``width`` settings; a model and data set stay together where they fit."""
    part: list[Setting] = []
    for _, same in groupby(settings, key=lambda setting: setting[:2]):
        together = list(same)
        if part and len(part) + len(together) > width:
            yield part
            part = []
        part += together
        while len(part) > width:
            yield part[:width]
            part = part[width:]
    if part:
        yield part


def column_heads(
    settings: Sequence[Setting], every: Sequence[Setting]
) -> tuple[list[tuple[str, ...]], str]:
    """Column heads of what varies over the whole study, and words for what does not."""
    varies = [len({setting[level] for setting in every}) > 1 for level in (0, 1)]
    columns = [
        tuple(setting[level] for level in (0, 1) if varies[level]) + (setting.bits,)
        for setting in settings
    ]
    constant = [settings[0][level] for level in (0, 1) if not varies[level]]
    return columns, " on ".join(constant)


def _bold_notes(
    comparison: Comparison, settings: Sequence[Setting], marked: dict[Setting, list[Group]]
) -> Iterator[str]:
    told = [comparison.errors_to_lose(setting) for setting, found in marked.items() if found]
    if told:
        yield (
            "Bold: the best quantized row of a column, and every row that cannot be told from it "
            "by a t test of the difference, paired by seed, at 5 % over all rows of the column "
            f"(Bonferroni), which takes a difference of {max(told):.1f} of its standard errors: "
            "fewer with more seeds. The float network is the reference and does not compete."
        )
    plain = [setting for setting in settings if not marked[setting]]
    few = [s for s in plain if len(comparison.competitors(s)) > 1]
    if few:
        where = "" if len(few) == len(settings) else f" in {_listing(few)}"
        yield (
            f"Nothing is bold{where}: fewer than two rows have {MINIMUM_SEEDS} seeds with a result "
            "there, and with fewer seeds a difference cannot be told from chance."
        )
    cells = [comparison.groups.get((row, s)) for s in settings for row in comparison.labels]
    if any(marked.values()) and any(
        group is not None and 0 < group.accuracy_estimate.n < MINIMUM_SEEDS for group in cells
    ):
        yield f"Rows with fewer than {MINIMUM_SEEDS} seeds in a column do not compete there."
    if any(group is None for group in cells):
        yield f"{NOTHING} stands for cells that the study does not contain."


def _listing(settings: Sequence[Setting]) -> str:
    return "; ".join(place(setting) for setting in settings)


def detail_table(comparison: Comparison, setting: Setting, key: str) -> Table:
    """Accuracy of one setting in all the ways in which it was measured."""
    columns = ["seeds", "accuracy (%)", "gap (points)", "re-estimated (%)"]
    columns += ["validation, last (%)", "validation, best (%)", "best epoch"]
    rows = [
        (label, _details(group, len(columns)))
        for label in comparison.labels
        if (group := comparison.groups.get((label, setting))) is not None
    ]
    heads = [(name,) for name in columns]
    return Table(key, f"{place(setting)}.", "quantizer", heads, rows, DETAIL_LEGEND)


def _details(group: Group, width: int) -> list[Entry]:
    found = group.accuracy_estimate
    seeds = Entry(f"{found.n} of {len(group.results)}", value=found.n)
    if not found.n:
        return [seeds, Entry("; ".join(problems(group))), *[Entry(NOTHING)] * (width - 2)]
    best = group.best_validation()
    epochs = estimate(best["epoch"].tolist())
    return [
        seeds,
        Entry(interval(found) if found.has_interval else plus_minus(found), value=found.mean),
        *(
            _spread(group.values(name, 100.0).tolist())
            for name in ("test/gap", "test/accuracy_reestimated", "validation/accuracy")
        ),
        _spread((100 * best["accuracy"]).tolist()),
        Entry(plus_minus(epochs, 0), value=epochs.mean if epochs.n else None),
    ]


def _spread(values: list[float]) -> Entry:
    found = estimate(values)
    return Entry(plus_minus(found), value=found.mean if found.n else None)


def ablation_tables(comparison: Comparison) -> list[Table]:
    """One table for each row that is varied, with differences to it paired by seed."""
    tables: list[Table] = []
    bases = dict.fromkeys(base for _, base in comparison.ablations.values())
    for base in bases:
        labels = [name for name, (_, around) in comparison.ablations.items() if around == base]
        places = dict.fromkeys(s for name, s in comparison.groups if name in labels)
        settings = [setting for setting in comparison.settings if setting in places]
        effects = {label: _effect(comparison, label, base, settings) for label in labels}
        labels.sort(key=lambda label: -effects[label])
        for part in parts(settings, FULL_WIDTH):
            number = len(tables) + 1
            tables.append(_ablation_table(comparison, base, labels, part, f"ablation-{number}"))
    return tables


def _effect(
    comparison: Comparison, label: str, base: str | None, settings: Sequence[Setting]
) -> float:
    """The size of a change, whatever its sign: the mean over settings; -1 where there is none."""
    found = [_difference(comparison, label, base, setting) for setting in settings]
    sizes = [abs(difference.mean) for difference in found if difference.n]
    return math.fsum(sizes) / len(sizes) if sizes else -1.0


def _difference(comparison: Comparison, label: str, base: str | None, setting: Setting) -> Estimate:
    group = comparison.groups.get((label, setting))
    default = comparison.groups.get((str(base), setting))
    if group is None or default is None:
        return estimate([])
    return paired_difference(group.accuracy, default.accuracy)


def _ablation_table(
    comparison: Comparison,
    base: str | None,
    labels: Sequence[str],
    settings: Sequence[Setting],
    key: str,
) -> Table:
    columns, constant = column_heads(settings, comparison.settings)
    rows = []
    if base is not None:
        own = [accuracy_entry(comparison.groups.get((base, setting))) for setting in settings]
        rows.append((f"{base}, accuracy (%)", own))
    for label in labels:
        entries = [_change(comparison, label, base, setting) for setting in settings]
        rows.append((comparison.ablations[label][0], entries))
    caption = (
        f"Ablations of {base or 'a row that is not in the study'}: deployed test accuracy minus "
        "that of the row with its defaults, in points, paired by seed (number of seeds)"
    )
    caption += f"; {constant}." if constant else "."
    legend = (
        "The largest change stands first, whatever its sign; of several columns their mean size. "
        f"Brackets: 95 % t interval over seeds, where there are {MINIMUM_SEEDS} or more; bold: the "
        "interval excludes 0."
    )
    return Table(key, caption, "changed", columns, rows, legend)


def _change(comparison: Comparison, label: str, base: str | None, setting: Setting) -> Entry:
    group = comparison.groups.get((label, setting))
    if group is None:
        return Entry(NOTHING)
    words = problems(group)
    found = _difference(comparison, label, base, setting)
    if found.n:
        words.insert(0, f"{interval(found, sign=True)} ({found.n})")
    return Entry(
        "; ".join(words) or NOTHING,
        bold=found.excludes_zero,
        value=found.mean if found.n else None,
    )
