"""Planted winners, ties and gaps: what the comparison and its sentence claim of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from synthetic_results import fill, make_plan, make_trial, write_trial

from qbench.errors import UsageError
from qbench.reporting.compare import Comparison, Setting
from qbench.reporting.difference_tables import difference_tables
from qbench.reporting.footnotes import Footnotes
from qbench.reporting.headline import headline
from qbench.reporting.long import long_results
from qbench.reporting.tables import ablation_tables, comparison_tables, detail_table
from qbench.store import Failure, TrialFolder
from qbench.study.plan import Cell, Plan

HERE = Setting("resnet8", "digits", "W4A32")
SEEDS = {0: 0.90, 1: 0.92, 2: 0.88}
"""A spread of seeds that all rows share."""
JITTER = {0: 0.001, 1: -0.001, 2: 0.0}
"""What a row differs by from seed to seed, so that differences have a spread."""


def accuracy(better: dict[str, float], jitter: str = "") -> "callable":  # type: ignore[valid-type]
    def of(cell: Cell) -> float:
        seed = cell.trial.seed
        own = JITTER[seed] if cell.label == jitter else 0.0
        return SEEDS[seed] + better.get(cell.label, 0.0) + own

    return of


def filled(tmp_path: Path, plan: Plan, better: dict[str, float], jitter: str = "") -> Comparison:
    fill(tmp_path, plan, accuracy(better, jitter))
    return Comparison(plan, tmp_path)


def entry(comparison: Comparison, label: str) -> tuple[str, bool]:
    (table,) = comparison_tables(comparison, Footnotes(comparison.plan.cells))
    found = dict(table.rows)[label][0]
    return found.text, found.bold


def test_a_planted_winner_is_found(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(), {"float": 0.05, "lsq": 0.02}, jitter="lsq")
    assert [group.label for group in found.marked(HERE)] == ["lsq"]
    assert entry(found, "lsq")[1]
    assert not entry(found, "ste")[1]
    assert not entry(found, "float")[1]  # the reference does not compete
    text = headline(found)
    assert "lsq has the highest" in text
    assert "2.00 points above ste (95 % interval" in text
    assert "3.00 points below float (95 % interval" in text


def test_a_planted_tie_is_called_a_tie(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(), {"float": 0.05, "lsq": 0.0004}, jitter="lsq")
    assert {group.label for group in found.marked(HERE)} == {"lsq", "ste"}
    assert "cannot be told from ste" in headline(found)


def test_what_it_takes_to_lose_the_bold_is_said(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(("float", "ste", "lsq", "dorefa", "pact")), {"float": 0.05})
    assert found.errors_to_lose(HERE) == pytest.approx(stats.t.ppf(1 - 0.05 / 6, 2))
    (table,) = comparison_tables(found, Footnotes(()))
    assert any("a difference of 7.6 of its standard errors" in note for note in table.notes)


def test_many_that_tie_are_counted(tmp_path: Path) -> None:
    plan = make_plan(("float", "ste", "lsq", "dorefa", "pact", "qil", "dsq", "ewgs"))
    assert "cannot be told from 6 other rows." in headline(filled(tmp_path, plan, {"float": 0.05}))


def test_the_numbers_of_a_cell(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(), {})
    assert entry(found, "ste")[0] == "90.00 ± 2.00 (3)"  # of 88, 90 and 92 percent


def test_two_seeds_claim_nothing_and_say_why(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(seeds=(0, 1)), {"lsq": 0.05})
    assert found.marked(HERE) == []
    (table,) = comparison_tables(found, Footnotes(()))
    assert not any(cell.bold for _, cells in table.rows for cell in cells)
    assert any("Nothing is bold" in note and "3 seeds" in note for note in table.notes)
    assert "interval" not in headline(found)
    assert "cannot be told apart" in headline(found)
    details = detail_table(found, HERE, "details")
    assert "[" not in "".join(cell.text for _, cells in details.rows for cell in cells)


def test_one_quantized_row_has_no_rival(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(("float", "ste")), {"float": 0.01})
    assert found.marked(HERE) == []
    assert "no other row" in headline(found)


def test_several_settings_in_one_sentence(tmp_path: Path) -> None:
    plan = make_plan(bits=("W2A32", "W4A32"))
    found = filled(tmp_path, plan, {"float": 0.05, "lsq": 0.02}, jitter="lsq")
    text = headline(found)
    assert "lsq is best, or cannot be told from the best, in 2 of 2 settings (alone in 2)" in text
    assert "3.00 points below float" in text


def test_several_settings_without_a_difference_say_so(tmp_path: Path) -> None:
    plan = make_plan(bits=("W2A32", "W4A32"))
    found = filled(tmp_path, plan, {"float": 0.05, "lsq": 0.0004}, jitter="lsq")
    text = headline(found)
    assert text.startswith(
        "None of 2 quantized rows can be told from the best in any of 2 settings with 3 seeds"
    )
    assert "the least loss on average is that of lsq, 4.96 points below float" in text


def test_nothing_finished(tmp_path: Path) -> None:
    found = Comparison(make_plan(), tmp_path)
    assert headline(found).startswith("No quantized trial has a result")
    assert entry(found, "ste") == ("missing (3 of 3)", False)


def test_failures_and_gaps_are_counted_in_the_cell(tmp_path: Path) -> None:
    plan = make_plan()
    fill(tmp_path, plan, accuracy({}))
    ste, lsq = ([c.trial for c in plan.cells if c.label == name] for name in ("ste", "lsq"))
    for trial in lsq:
        folder = TrialFolder(tmp_path, trial.name)
        folder.clear()
        folder.fail(Failure("diverged", "the loss is nan"))
    TrialFolder(tmp_path, ste[0].name).clear()  # an empty folder: cut off
    (TrialFolder(tmp_path, ste[1].name).path / "history.parquet").write_bytes(b"")
    found = Comparison(plan, tmp_path)
    assert entry(found, "lsq")[0] == "failed: diverged (3 of 3)"
    assert entry(found, "ste")[0] == "88.00 (1); not finished (1 of 3); damaged (1 of 3)"


def test_float_stands_once_and_serves_every_bits_column(tmp_path: Path) -> None:
    plan = make_plan(bits=("W2A32", "W4A32"))
    found = filled(tmp_path, plan, {})
    (table,) = comparison_tables(found, Footnotes(()))
    assert table.columns == [("W2A32",), ("W4A32",)]
    assert [cell.text for cell in dict(table.rows)["float"]] == ["90.00 ± 2.00 (3)"] * 2


def test_the_float_network_that_others_start_from_is_the_reference(tmp_path: Path) -> None:
    plan = make_plan(("ste", "lsq"))
    needed = tuple(make_trial("float", "W32A32", seed) for seed in (0, 1, 2))
    plan = Plan(plan.study, plan.cells, (), needed)
    fill(tmp_path, plan, accuracy({}))
    for trial in needed:
        write_trial(tmp_path, trial, SEEDS[trial.seed] + 0.04)
    found = Comparison(plan, tmp_path)
    drop = found.drop(found.groups["ste", HERE])
    assert (drop.n, drop.mean) == (3, pytest.approx(4.0))


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    better = {"float": 0.03, "lsq": 0.01}
    found = filled(tmp_path, make_plan(report={"baseline": "ste"}), better)
    drop, gain = difference_tables(found)
    # Differences between equal spreads of seeds have no spread: the interval is a point.
    assert [(name, *(cell.text for cell in row)) for name, row in drop.rows] == [
        ("ste", "+3.00 [3.00, 3.00]"),
        ("lsq", "+2.00 [2.00, 2.00]"),
    ]
    ((name, (cell,)),) = gain.rows
    assert (name, cell.text, cell.bold) == ("lsq", "+1.00 [1.00, 1.00]", True)


def test_the_row_of_ste_is_the_baseline_unless_the_study_names_one(tmp_path: Path) -> None:
    assert Comparison(make_plan(), tmp_path).baseline == "ste"
    assert Comparison(make_plan(report={"baseline": "lsq"}), tmp_path).baseline == "lsq"
    assert Comparison(make_plan(report={"baseline": "float"}), tmp_path).baseline is None
    assert Comparison(make_plan(("float", "lsq")), tmp_path).baseline is None


def test_few_seeds_have_differences_without_an_interval(tmp_path: Path) -> None:
    found = filled(tmp_path, make_plan(seeds=(0, 1)), {"float": 0.03})
    drop, _ = difference_tables(found)
    assert [(cells[0].text, cells[0].bold) for _, cells in drop.rows] == [("+3.00", False)] * 2


def test_details_show_the_best_epoch_beside_the_last(tmp_path: Path) -> None:
    plan = make_plan(("ste",), seeds=(0,))
    write_trial(tmp_path, plan.cells[0].trial, 0.9, gap=0.005)
    table = detail_table(Comparison(plan, tmp_path), HERE, "details")
    heads = [column[0] for column in table.columns]
    ste = dict(zip(heads, [cell.text for cell in dict(table.rows)["ste"]], strict=True))
    folder = TrialFolder(tmp_path, plan.cells[0].trial.name)
    history = folder.read_table("history.parquet").to_pandas()
    curve = history[history["name"] == "validation/accuracy"]
    best = curve.loc[curve["value"].idxmax()]
    assert ste["accuracy (%)"] == "90.00"
    assert ste["gap (points)"] == "0.50"
    assert ste["re-estimated (%)"] == "90.10"
    assert ste["validation, last (%)"] == f"{100 * curve['value'].iloc[-1]:.2f}"
    assert ste["validation, best (%)"] == f"{100 * best['value']:.2f}"
    assert ste["best epoch"] == str(int(best["epoch"]))


def test_ablations_stand_in_their_own_table(tmp_path: Path) -> None:
    cells = [
        Cell(make_trial("ste", "W4A32", seed, start="file:1"), "ste [backward=x]", "backward=x")
        for seed in (0, 1, 2)
    ]
    plan = make_plan(extra=cells)
    found = filled(tmp_path, plan, {"ste [backward=x]": -0.01}, jitter="ste [backward=x]")
    assert found.labels == ["float", "ste", "lsq"]
    (table,) = ablation_tables(found)
    assert [name for name, _ in table.rows] == ["ste, accuracy (%)", "backward=x"]
    # Differences -0.9, -1.1 and -1.0 points: 0.1 * 4.302653 / sqrt(3) = 0.248
    assert table.rows[1][1][0].text == "−1.00 [−1.25, −0.75] (3)"


def test_ablations_are_ordered_by_their_effect(tmp_path: Path) -> None:
    """Over both settings and whatever its sign; what has no result stands last."""
    planted = {"small": -0.001, "up": 0.01, "down": -0.03, "not run": 0.0}
    bits = ("W2A32", "W4A32")
    cells = [
        Cell(make_trial("ste", width, seed, start=f"file:{what}"), f"ste [{what}]", what)
        for what in planted
        for width in bits
        for seed in (0, 1, 2)
    ]
    plan = make_plan(bits=bits, extra=cells)
    offsets = {f"ste [{what}]": change for what, change in planted.items()}
    for cell in plan.cells:
        if cell.ablation != "not run":
            write_trial(tmp_path, cell.trial, 0.8 + offsets.get(cell.label, 0.0))
    (table,) = ablation_tables(Comparison(plan, tmp_path))
    names = [name for name, _ in table.rows]
    assert names == ["ste, accuracy (%)", "down", "up", "small", "not run"]
    assert "largest change stands first" in str(table.legend)


def test_a_row_with_other_seeds_is_paired_with_the_studys(tmp_path: Path) -> None:
    again = [Cell(make_trial("ste", "W4A32", 1000 + s), "again", "", 1000) for s in (0, 1, 2)]
    plan = make_plan(extra=again)
    for cell in plan.cells:
        write_trial(tmp_path, cell.trial, 0.8 + 0.01 * cell.seed + 0.02 * (cell.label == "again"))
    found = Comparison(plan, tmp_path)
    group = found.groups["again", found.settings[0]]
    assert list(group.results) == [0, 1, 2]
    difference = found.minus_baseline(group)
    assert difference.n == 3
    assert difference.mean == pytest.approx(2.0)
    assert difference.deviation == pytest.approx(0.0, abs=1e-9)  # the seed's effect is gone
    assert set(long_results(found)["seed"]) == {0, 1, 2}


def test_starts_of_other_seeds_are_no_seeds_of_the_float_network(tmp_path: Path) -> None:
    again = Cell(make_trial("ste", "W4A32", 1000), "again", "", 1000)
    plan = make_plan(("ste",), seeds=(0,), extra=[again])
    needed = tuple(make_trial("float", "W32A32", seed) for seed in (0, 1000))
    for trial in (*needed, *(cell.trial for cell in plan.cells)):
        write_trial(tmp_path, trial, 0.8)
    found = Comparison(replace(plan, needed=needed), tmp_path)
    group = found.float_of(found.settings[0])
    assert group is not None
    assert list(group.results) == [0]


def test_many_settings_make_several_tables(tmp_path: Path) -> None:
    bits = ("W1A32", "W2A32", "W3A32", "W4A32")
    found = Comparison(make_plan(models=("a", "b", "c"), bits=bits), tmp_path)
    tables = comparison_tables(found, Footnotes(()))
    assert [len(table.columns) for table in tables] == [4, 4, 4]  # a model is not cut in two
    assert len(comparison_tables(found, Footnotes(()), width=3)[0].columns) == 3


def test_an_unknown_baseline_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no row 'lsqq'; did you mean 'lsq'"):
        Comparison(make_plan(report={"baseline": "lsqq"}), tmp_path)


def test_an_empty_plan_is_no_traceback(tmp_path: Path) -> None:
    found = Comparison(Plan(make_plan().study, ()), tmp_path)
    assert headline(found).startswith("No quantized trial")
    assert comparison_tables(found, Footnotes(())) == []
