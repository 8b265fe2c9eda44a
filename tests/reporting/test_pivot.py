"""A table with axes and a metric of the reader's choice, and what it refuses to mix."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from synthetic_results import fill, make_plan

from qbench.errors import UsageError
from qbench.reporting.compare import Comparison
from qbench.reporting.pivot import pivot
from qbench.study.plan import Cell

ACCURACY = "test/accuracy"
BETTER = {"W1A1": 0.0, "W2A2": 0.1, "float": 0.3, "lsq": 0.05}


def planted(cell: Cell) -> float:
    """0.5 and more, with 0.01 between seeds."""
    trial = cell.trial
    gain = BETTER.get(cell.label, 0.0) + BETTER.get(str(trial.bits), 0.0)
    return 0.5 + gain + 0.01 * trial.seed


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    plan = make_plan(bits=("W1A1", "W2A2"))
    results = tmp_path_factory.mktemp("results")
    fill(results, plan, planted)
    return Comparison(plan, results)


def texts(
    found: Comparison, rows: Sequence[str], columns: Sequence[str], metric: str = ACCURACY
) -> tuple[list[tuple[str, ...]], dict[str, list[str]]]:
    table = pivot(found, rows, columns, metric)
    return list(table.columns), {name: [cell.text for cell in row] for name, row in table.rows}


def test_seeds_are_averaged(found: Comparison) -> None:
    columns, rows = texts(found, ["quantizer"], ["bits"])
    assert columns == [("W1A1",), ("W2A2",)]
    assert rows["lsq"] == ["56.00 ± 1.00 (3)", "66.00 ± 1.00 (3)"]
    assert rows["float"] == ["81.00 ± 1.00 (3)"] * 2  # it stands at all bits


def test_any_axis_can_be_rows_or_columns(found: Comparison) -> None:
    columns, rows = texts(found, ["bits"], ["quantizer", "seed"])
    assert columns[:3] == [("float", "0"), ("float", "1"), ("float", "2")]
    assert list(rows) == ["W1A1", "W2A2"]
    assert rows["W1A1"][3:6] == ["50.00", "51.00", "52.00"]  # ste, a value each
    _, nested = texts(found, ["quantizer", "weight_bits"], ["activation_bits"])
    assert nested["lsq · 2"] == ["—", "66.00 ± 1.00 (3)"]


def test_another_metric_has_its_own_unit(found: Comparison) -> None:
    _, rows = texts(found, ["quantizer"], ["bits"], "train/loss")
    assert rows["ste"] == ["0.05 (3)", "0.05 (3)"]  # 1 over the 20 epochs
    _, rows = texts(found, ["quantizer"], ["bits"], "seconds/train")
    assert rows["ste"] == ["10.00 ± 0.00 (3)"] * 2


@pytest.mark.parametrize(
    ("rows", "columns", "metric", "sentence"),
    [
        (["quantiser"], ["bits"], ACCURACY, "no axis 'quantiser'; did you mean 'quantizer'"),
        (["quantizer"], ["bits"], "test/acuracy", "no metric 'test/acuracy'; did you mean 'test/a"),
        (["quantizer"], ["seed"], ACCURACY, r"'bits' varies \(W1A1, W2A2\) and is in neither"),
        (["bits"], ["seed"], ACCURACY, r"'quantizer' varies \(float, ste, lsq\)"),
        (["quantizer", "bits"], ["bits"], ACCURACY, "'bits' is named twice"),
        (["quantizer"], [], ACCURACY, "rows and columns each need an axis"),
    ],
)
def test_what_would_mix_or_is_unknown_is_a_sentence(
    found: Comparison, rows: list[str], columns: list[str], metric: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        pivot(found, rows, columns, metric)


def test_without_a_result_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trial of the study has a result yet"):
        pivot(Comparison(make_plan(), tmp_path), ["quantizer"], ["bits"], ACCURACY)
