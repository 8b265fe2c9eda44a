"""Each picture of diagnostics is there when its numbers are, and is left out when not."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from synthetic_diagnostics import ROWS, diagnostics_plan, fill_diagnosed

from qbench.reporting.compare import Comparison
from qbench.reporting.figures import DIAGNOSING
from qbench.reporting.report import write_report
from qbench.reporting.style import looks, style

EVERY = {kind.name for kind in DIAGNOSING}
NEEDS = {
    "discretization/": {"epochs-gap"},
    "gradient/flip_set": {"scatter", "scales", "epochs-flip-sets"},
    "gradient/smoothed": {"scales"},
    "output/": {"waterfall"},
    "weight/": {"timeline"},
    "dynamics/": {"epochs-oscillation", "epochs-flip-rate"},
    "codes/": set(),
}


def drawn(comparison: Comparison) -> dict[str, Figure]:
    seen = looks(comparison.labels, ["float"])
    with style():
        found = {k.name: k.draw(comparison, comparison.pairs[0], seen) for k in DIAGNOSING}
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


def test_nothing_is_drawn_of_a_study_without_diagnostics(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path, plan, only=("none",))
    assert drawn(Comparison(plan, tmp_path)) == {}


def test_the_chapter_of_a_report(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(
        tmp_path / "results", plan, only=("gradient/flip_set_r_1pct", "discretization/train")
    )
    report = write_report(plan, tmp_path / "results", tmp_path / "report", ("markdown",), {})
    text = (report.folder / "report.md").read_text()
    assert text.count("## Diagnostics\n") == 1
    assert "![Diagnosis map: resnet8 on digits](figures/map-resnet8-digits.png)" in text
    assert text.index("Diagnosis map") < text.index("What each row suffers from")
    assert "Which diagnostics go with accuracy" in text
    assert "waterfall" not in text
    assert all(path.is_file() for path in report.files)


def test_a_study_without_diagnostics_has_no_chapter(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A1",))
    fill_diagnosed(tmp_path / "results", plan, only=("none",))
    report = write_report(plan, tmp_path / "results", tmp_path / "report", ("markdown",), {})
    assert "Diagnostics" not in (report.folder / "report.md").read_text()
