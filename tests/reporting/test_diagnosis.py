"""Planted diagnostics: the numbers, marks and classes that a report tells of them."""

import math
from pathlib import Path

import pytest
from synthetic_diagnostics import LAYERS, PLANTS, SETS, diagnostics_plan, fill_diagnosed

from qbench.reporting.compare import Comparison, Group
from qbench.reporting.diagnosis import class_of, decibels, gap, measured
from qbench.reporting.diagnostics_table import summary_table
from qbench.reporting.document import Entry, Table
from qbench.reporting.figure_epochs import mean_map
from qbench.reporting.figure_map import place_of
from qbench.reporting.figure_scales import scales_of
from qbench.reporting.figure_scatter import pooled
from qbench.reporting.latex import render_latex
from qbench.reporting.markdown import render_markdown
from qbench.store import Row, TrialFolder

BITS = ("W1A32", "W1A1")
RELEASED = "quantization_networks (released backward)"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    results = tmp_path_factory.mktemp("results")
    plan = diagnostics_plan(bits=BITS)
    fill_diagnosed(results, plan)
    return Comparison(plan, results)


def group(comparison: Comparison, label: str, bits: str = "W1A32") -> Group:
    (found,) = [g for g in comparison.groups.values() if (g.label, g.setting.bits) == (label, bits)]
    return found


def cells(comparison: Comparison, label: str, bits: str = "W1A32") -> dict[str, Entry]:
    table = summary_table(comparison, group(comparison, label, bits).setting, "key")
    assert table is not None
    heads = [column[0] for column in table.columns]
    return dict(zip(heads, dict(table.rows)[label], strict=True))


@pytest.mark.parametrize(
    ("label", "expected", "short"),
    [
        ("ste", "hard forward", "hard"),
        ("quantnet", "soft forward, exact backward", "soft, exact"),
        (RELEASED, "soft forward, modified backward", "soft, modified"),
    ],
)
def test_the_class_is_measured(
    comparison: Comparison, label: str, expected: str, short: str
) -> None:
    assert class_of(group(comparison, label)) == expected
    assert cells(comparison, label)["class"].text == short


@pytest.mark.parametrize(
    ("agreement", "gain", "expected"),
    [
        (0.995, 1.04, "soft forward, exact backward"),
        (0.989, 1.0, "soft forward, modified backward"),
        (1.0, 1.06, "soft forward, modified backward"),
        (None, None, "not measured"),
    ],
)
def test_the_borders_of_a_class(
    tmp_path: Path, agreement: float | None, gain: float | None, expected: str
) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32",))
    fill_diagnosed(tmp_path, plan, only=("discretization/",))
    for cell in plan.cells:
        folder = TrialFolder(tmp_path, cell.trial.name)
        history = [Row(**row) for row in folder.read_table("history.parquet").to_pylist()]
        if agreement is not None and gain is not None:
            history.append(Row(20, "gradient/self_consistency", agreement))
            history.append(Row(20, "gradient/self_consistency_gain", gain))
        folder.write_rows("history.parquet", history, Row)
        folder.finish()
    found = Comparison(plan, tmp_path)
    assert class_of(group(found, "quantnet")) == expected
    assert class_of(group(found, "ste")) == "hard forward"  # whatever else was measured


def test_the_gap_is_that_of_what_departs_more(comparison: Comparison) -> None:
    # Layers depart by gap, gap + 1, … gap + 5 dB; activations by twice as much (synthetic).
    weights = [10 ** ((PLANTS["quantnet"].gap + depth) / 10) for depth in range(len(LAYERS))]
    mean = sum(weights) / len(weights)
    assert gap(group(comparison, "quantnet")) == pytest.approx(mean)
    assert gap(group(comparison, "quantnet", "W1A1")) == pytest.approx(2 * mean)
    assert cells(comparison, "quantnet")["gap (dB)"] == Entry(
        f"{10 * math.log10(mean):.1f}".replace("-", "−"), mark="bad"
    )
    assert cells(comparison, "ste")["gap (dB)"] == Entry("exactly 0", mark="good")
    assert cells(comparison, RELEASED)["gap (dB)"].mark == ""  # −15.2 dB: between the thresholds


def test_places_on_the_map_are_the_rows_own_numbers(comparison: Comparison) -> None:
    row = group(comparison, "quantization_networks")
    last, first = place_of(row), place_of(row, first=True)
    assert last is not None
    assert first is not None
    r = row.values("gradient/flip_set_r_1pct")
    assert last.miss == pytest.approx(1 - r.mean())
    assert last.gap == pytest.approx(decibels(gap(row)))
    assert first.gap == pytest.approx(last.gap + 14)  # the planted fall over training, in dB
    assert first.miss > last.miss
    hard = place_of(group(comparison, "ste"))
    assert hard is not None
    assert hard.gap == -math.inf


def test_few_seeds_have_the_error_of_the_measurement(comparison: Comparison) -> None:
    row = group(comparison, "quantnet")
    found = measured(row, "gradient/flip_set_r_0.2pct")
    errors = row.values("gradient/flip_set_r_0.2pct_se")
    assert len(errors) == 2  # seeds
    assert found.half == pytest.approx(1.96 * math.sqrt((errors**2).sum()) / 2)
    assert 0 < found.half < 1.96 / math.sqrt(SETS)
    assert math.isnan(measured(row, "codes/entropy").half)  # tells no error


def test_marks_follow_the_thresholds(comparison: Comparison) -> None:
    ste, quantnet = cells(comparison, "ste"), cells(comparison, "quantnet")
    assert (ste["r"].mark, quantnet["r"].mark) == ("good", "bad")
    assert (ste["slope"].mark, quantnet["slope"].mark) == ("good", "")
    assert (ste["descent"].mark, quantnet["descent"].mark) == ("", "bad")
    assert ste["oscillating (%)"] == Entry("4.0")
    assert cells(comparison, "ste", "W1A1")["oscillating (%)"] == Entry("16.0", mark="bad")
    assert ste["Jacobian"].text.endswith("at 5 %")


def test_what_is_not_defined_is_said(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32",))
    fill_diagnosed(tmp_path, plan, only=("discretization/",))
    found = Comparison(plan, tmp_path)
    assert list(cells(found, "ste")) == ["class", "gap (dB)"]
    assert cells(found, "quantnet")["class"] == Entry("not measured", mark="none")


def test_marks_are_told_in_each_format() -> None:
    entries = [Entry("1", mark="good"), Entry("2", mark="bad"), Entry("n/a", mark="none")]
    table = Table("marks", "Marks.", "row", [("a",), ("b",), ("c",)], [("x", entries)])
    markdown, latex = render_markdown([table]), render_latex([table], "marks")
    assert all(words in markdown for words in ("1 ✓", "2 ✗", "*n/a*"))
    assert r"1\,$\surd$ & \textbf{2\,$\times$} & \textit{n/a}" in latex
    assert "colortbl" not in latex


def test_curves_over_the_share_of_codes(comparison: Comparison) -> None:
    row = group(comparison, "lsq")
    curve = scales_of(row, "gradient/flip_set_r")
    assert list(curve) == [0.2, 1.0, 5.0]
    assert curve[5.0].mean == pytest.approx(row.values("gradient/flip_set_r_5pct").mean())
    assert len(scales_of(row, "gradient/jacobian_alignment")) == 8  # no _max and no _at


def test_points_are_pooled_in_standard_deviations(comparison: Comparison) -> None:
    row = group(comparison, "lsq")
    points = pooled(comparison, row)
    assert len(points) == SETS * len(LAYERS)  # one seed, the last measurement
    assert points["x"].std() == pytest.approx(1, abs=0.05)
    slope = points["x"].cov(points["y"]) / points["x"].var()
    assert slope == pytest.approx(PLANTS["lsq"].slope, abs=0.1)


def test_a_map_of_epochs_is_the_mean_of_seeds(comparison: Comparison) -> None:
    row = group(comparison, "ste")
    found = mean_map(comparison, row, "gradient/flip_set_r_1pct")
    assert list(found.index) == list(LAYERS)
    assert list(found.columns) == [0, 5, 10, 15, 20]
    assert found[20].mean() == pytest.approx(row.values("gradient/flip_set_r_1pct").mean())


def test_only_what_is_drawn_is_read(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = TrialFolder.read_table

    def spy(folder: TrialFolder, name: str) -> object:
        read.append(name)
        return original(folder, name)

    monkeypatch.setattr(TrialFolder, "read_table", spy)
    again = Comparison(comparison.plan, comparison.traces.results)
    assert "points.parquet" not in read
    read.clear()
    pooled(again, group(again, "lsq"))
    assert read == ["points.parquet"]


def test_damaged_points_are_left_out_and_named(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32",))
    fill_diagnosed(tmp_path, plan)
    (trial,) = [cell.trial for cell in plan.cells if cell.label == "ste"]
    path = TrialFolder(tmp_path, trial.name).path / "points.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    found = Comparison(plan, tmp_path)
    assert pooled(found, group(found, "ste")).empty
    assert list(found.traces.damaged) == [trial.name]
