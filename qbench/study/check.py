"""What only the registries can say about a study: names, options, bit-widths, rows."""

from qbench import registry
from qbench.errors import UsageError, unknown
from qbench.study.expand import exclusions
from qbench.study.grid import FLOAT_BITS, Grid
from qbench.study.knobs import check_tuning
from qbench.study.names import bit_ranges
from qbench.study.rows import Row
from qbench.study.schema import Bits, Component, Study
from qbench.study.sentences import SettingError, SettingPath

__all__ = ["check_study"]

STARTS = ("scratch", "float")


def check_study(study: Study) -> None:
    """Check a study against what is registered, without importing any of it.

    Raises:
        SettingError: A name, an option, a recipe, a label, a start or a bit-width is refused.
    """
    _check_listed_once(study)
    grid = Grid(study)
    if study.start not in STARTS:
        try:
            _ = grid.start_file
        except SettingError as error:
            names = unknown("start", study.start, (*STARTS, "a file of weights"))
            raise SettingError(("start",), names) from error
    labels = [row.label for row in grid.rows]
    baseline = study.report.baseline
    if baseline is not None and baseline not in labels:
        sentence = unknown("row", baseline, labels)
        raise SettingError(("report", "baseline"), sentence)
    _check_bits(study, grid)
    check_tuning(study, grid.rows)


def _check_listed_once(study: Study) -> None:
    axes: dict[SettingPath, tuple[object, ...]] = {
        ("models",): study.models,
        ("data", "sets"): study.data.sets,
        ("bits",): study.bits,
        ("seeds",): study.seeds,
    }
    for path, values in axes.items():
        seen = set()
        for index, value in enumerate(values):
            if repr(value) in seen:
                raise SettingError((*path, index), "it is listed twice; leave one out")
            seen.add(repr(value))


def _check_bits(study: Study, grid: Grid) -> None:
    """Every cell can be done, or is excluded; and every exclusion can be computed."""
    rules = exclusions(study)
    problems = {
        (row.label, bits): problem
        for row in grid.rows
        if not row.is_float
        for bits in study.bits
        if (problem := _cannot(row, bits))
    }
    if not problems and not rules:
        return
    for _, cell in grid.cells():
        excluded = False
        for index, rule in enumerate(rules):
            try:
                excluded = excluded or rule.matches(cell)
            except UsageError as error:
                raise SettingError(("exclude", index, "where"), str(error)) from None
        key = (cell.label, cell.trial.bits)
        if key in problems and not excluded:
            raise SettingError(("bits", study.bits.index(cell.trial.bits)), problems[key])


def _cannot(row: Row, bits: Bits) -> str:
    """Why a row cannot be done with these bits, with the exclusion that mends it; or nothing."""
    if bits == FLOAT_BITS:
        problem = f"{bits} quantizes nothing, which the quantizer 'float' stands for"
        condition = f"bits == '{bits}' and quantizer != 'float'"
    else:
        weights, inputs = row.quantizer, row.activations or row.quantizer
        condition = f"quantizer == '{weights.name}' and weight_bits == {bits.weight}"
        problem = _beyond(weights, "weight", bits.weight)
        if not problem:
            condition = f"label == {row.label!r} and activation_bits == {bits.activation}"
            problem = _beyond(inputs, "activation", bits.activation)
    if not problem:
        return ""
    return f'{problem}; to leave this out, exclude: [{{where: "{condition}", because: …}}]'


def _beyond(method: Component, target: str, width: int) -> str:
    facts = registry.quantizers.entry(method.name).facts.get("bits")
    can = facts.get(target, ()) if isinstance(facts, dict) else None
    if width == 32 or not isinstance(can, tuple) or width in can:
        return ""
    if not can and target == "activation":
        return (
            f"'{method.name}' has no answer for {target}s; name another method for them, such as "
            f"{{name: {method.name}, {target}s: {{name: ste}}}}"
        )
    return f"'{method.name}' cannot do {width}-bit {target}s; it can do {bit_ranges(can)}"
