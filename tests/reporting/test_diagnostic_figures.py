"""Each picture of diagnostics is there when its numbers are, and is left out when not."""

from pathlib import Path
from typing import Any

import pytest
import synthetic_diagnostics
from matplotlib.figure import Figure
from synthetic_diagnostics import ROWS, diagnostics_plan, fill_diagnosed

from qbench.reporting import report as report_module
from qbench.reporting.compare import Comparison
from qbench.reporting.correlations import correlation_table
from qbench.reporting.diagnostics_chapter import diagnostics_chapter
from qbench.reporting.figures import DIAGNOSING
from qbench.reporting.numbers import fixed
from qbench.reporting.report import write_report
from qbench.reporting.style import looks, style

EVERY = {kind.name for kind in DIAGNOSING}
NEEDS = {
    "discretization/": {"epochs-gap", "latent-error", "correlations"},
    "gradient/flip_set": {"scatter", "scales", "epochs-flip-sets", "correlations"},
    "gradient/smoothed": {"scales", "correlations"},
    "output/": {"waterfall", "correlations"},
    "weight/": {"timeline"},
    "dynamics/": {"epochs-oscillation", "epochs-flip-rate", "correlations"},
    "codes/": {"correlations"},
}


def drawn(comparison: Comparison, *names: str) -> dict[str, Figure]:
    """The figures of these names, or all."""
    seen = looks(comparison.labels, ["float"])
    kinds = [kind for kind in DIAGNOSING if kind.name in (names or EVERY)]
    with style():
        found = {k.name: k.draw(comparison, comparison.pairs[0], seen) for k in kinds}
    return {name: figure for name, figure in found.items() if figure is not None}


@pytest.mark.parametrize(("names", "expected"), NEEDS.items())
def test_a_picture_needs_its_numbers(tmp_path: Path, names: str, expected: set[str]) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan, only=(names,))
    assert drawn(Comparison(plan, tmp_path)).keys() == expected


def test_everything_is_drawn_of_everything(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan)
    found = drawn(Comparison(plan, tmp_path))
    assert found.keys() == EVERY
    words = {text.get_text() for text in found["map"].axes[0].texts}
    assert {"healthy", "gradient mismatch", "discretization\nerror", "both"} <= words
    assert {"ste", "lsq", "quantnet"} <= words  # rows are named beside their marks
    assert len(found["scatter"].axes) == len(ROWS)
    title = found["waterfall"].get_suptitle().replace("\n", " ")
    assert "exactly 0 throughout: ste, dorefa, lsq, daq, metaquant" in title


def test_each_row_is_marked_where_its_training_moves(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan, only=("gradient/flip_set", "dynamics/window_change"))
    comparison = Comparison(plan, tmp_path)
    figure = drawn(comparison, "scales")["scales"]
    upright = [line for line in figure.axes[0].lines if list(line.get_ydata()) == [0, 1]]
    places = {line.get_color(): line.get_xdata()[0] for line in upright}
    seen = looks(comparison.labels, ["float"])
    (group,) = (g for (label, _), g in comparison.groups.items() if label == "quantnet")
    planted = 100 * group.values("dynamics/window_change").item()
    assert places[seen["quantnet"].colour] == pytest.approx(planted)
    assert len(places) == len(ROWS)
    legend = [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]
    assert any("changed by the last 20 steps" in text for text in legend)


def test_a_row_that_hardly_moves_does_not_stretch_the_axis(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan, only=("gradient/flip_set", "dynamics/window_change"))
    comparison = Comparison(plan, tmp_path)
    for group in comparison.groups.values():
        for result in group.done.values():
            if "dynamics/window_change" in result.final:
                result.final["dynamics/window_change"] = (20, 0.0)  # type: ignore[index]
    axes = drawn(comparison, "scales")["scales"].axes[0]
    assert 0.1 < axes.get_xlim()[0] < 0.2  # in percent; flip sets begin at 0.2
    assert not [line for line in axes.lines if list(line.get_ydata()) == [0, 1]]


def test_the_timeline_shows_the_gradient_vanish(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32",))
    fill_diagnosed(tmp_path, plan)
    axes = drawn(Comparison(plan, tmp_path), "timeline")["timeline"].axes
    assert [one.get_ylabel() for one in axes] == [
        "temperature", "gap (dB)", "norm of g", "r at 1 % flips",
    ]  # fmt: skip
    assert axes[2].get_yscale() == "log"
    assert all(line.get_ydata()[0] > 10 * line.get_ydata()[-1] for line in axes[2].lines)


def test_the_forest_is_sorted_and_agrees_with_the_table(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32", "W1A1"))
    fill_diagnosed(tmp_path, plan)
    comparison = Comparison(plan, tmp_path)
    pooled, *others = drawn(comparison, "correlations")["correlations"].axes
    assert [axes.get_title().split("\n")[0] for axes in others] == ["W1A32", "W1A1"]
    names = [label.get_text().replace("\n", " ") for label in pooled.get_yticklabels()]
    points = [line for line in pooled.lines if line.get_marker() == "o"]
    values = {names[int(p.get_ydata()[0])]: p.get_xdata()[0] for p in points}
    assert list(values.values()) == sorted(values.values(), reverse=True)
    table = correlation_table(comparison)
    assert table is not None
    assert {name: entries[0].text.split()[0] for name, entries in table.rows} == {
        name: fixed(value) for name, value in values.items()
    }


def test_nothing_is_drawn_of_a_study_without_diagnostics(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan, only=("none",))
    assert drawn(Comparison(plan, tmp_path)) == {}


def test_the_chapter_of_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "CHAPTERS", ((), (), (), (), DIAGNOSING))
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(
        tmp_path / "results", plan, only=("gradient/flip_set_r_1pct", "discretization/train")
    )
    report = write_report(plan, tmp_path / "results", tmp_path / "report", ("markdown",), {})
    text = (report.folder / "report.md").read_text()
    assert text.count("## Diagnostics\n") == 1
    assert "![Diagnosis map: resnet8 on digits](figures/map-resnet8-digits.png)" in text
    assert text.index("Diagnosis map") < text.index("What each row suffers from")
    assert text.index("### Which diagnostics go with") < text.index("(figures/correlations-")
    assert "waterfall" not in text
    assert all(path.is_file() for path in report.files)


def test_a_study_without_diagnostics_has_no_chapter(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path / "results", plan, only=("none",))
    comparison = Comparison(plan, tmp_path / "results")
    assert not list(diagnostics_chapter(comparison, []))


def test_a_long_layer_keeps_the_end_of_its_name(tmp_path: Path, monkeypatch: Any) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    monkeypatch.setattr(synthetic_diagnostics, "LAYERS", ("features.stage1.0.conv1",))
    fill_diagnosed(tmp_path, plan, only=("dynamics/flip_rate",))
    axes = drawn(Comparison(plan, tmp_path), "epochs-flip-rate")["epochs-flip-rate"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["…stage1.0.conv1"]
