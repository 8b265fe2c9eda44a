"""Every suite runs in its tiny form, and what it writes can be read."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from qbench.bench import gpu
from qbench.bench.__main__ import SUITES, command
from qbench.bench.cases import Case
from qbench.bench.goals import GOALS
from qbench.bench.gpu import side_by_side
from qbench.bench.harness import Span, occupancy
from qbench.bench.limits import Operation, floor_seconds, operations
from qbench.bench.outcome import Setting, read_records
from qbench.bench.scaling import QUICK_SIZES, Measured, further

pytestmark = pytest.mark.long
# One trains with loaders' workers, one runs whole networks for its floor, two start Ray and MLflow,
# the last runs four suites again.
LONG = ("paper_style", "limits", "harness", "scaling", "gpu")
HERE = [suite for suite in SUITES if suite not in LONG]


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bench")
    done = bench(*HERE, "--quick", "--output", output)
    assert done.exit_code == 0, done.output
    return output


def test_every_suite_writes_its_numbers_and_where_they_are_from(folder: Path) -> None:
    records = read_records(folder, SUITES)
    assert [record.suite for record in records] == HERE
    for record in records:
        assert record.command == f"python -m qbench.bench {record.suite} --quick"
        assert torch.__version__.startswith(record.versions["torch"].split("+")[0])
        assert {"processor", "cores", "system", "python"} <= set(record.machine)
        assert record.commit
        assert record.outcome.tables
        for table in record.outcome.tables:
            assert table.rows
            assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_file_is_plain_json(folder: Path) -> None:
    content = json.loads((folder / "step.json").read_text())
    assert content["outcome"]["tables"][0]["columns"][:2] == ["quantizer", "bits"]
    assert content["quick"] is True


def test_suites_know_the_figures_that_they_owe(folder: Path) -> None:
    for record in read_records(folder, SUITES):
        owed = {goal.key for goal in GOALS if goal.suite == record.suite}
        assert owed <= set(record.outcome.figures)


def test_a_quick_figure_is_no_figure(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    assert "| reached" not in page
    assert "the numbers say nothing" in page
    assert page.count("not measured yet") >= len(GOALS)


def test_one_suite_goes_to_standard_output_and_the_page_names_what_is_missing(
    tmp_path: Path,
) -> None:
    done = bench("counters", "--quick", "--json", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["suite"] == "counters"
    page = (tmp_path / "README.md").read_text()
    assert "## gpu\n\nnot measured yet: `python -m qbench.bench gpu`" in page
    assert "`python -m qbench.bench counters --quick`" in page


def test_a_figure_is_reached_or_not() -> None:
    faster = next(goal for goal in GOALS if goal.at_least)
    nearer = next(goal for goal in GOALS if not goal.at_least)
    assert faster.verdict(faster.bound) == "reached"
    assert faster.verdict(faster.bound - 0.1) == "not reached"
    assert nearer.verdict(nearer.bound) == "reached"
    assert nearer.verdict(nearer.bound + 0.1) == "not reached"
    assert nearer.verdict(None) == "not measured yet"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stepp"], "error: there is no suite 'stepp'; did you mean 'step'?"),
        (["harness", "--device", "cuda"], "error: the suite 'harness' measures the CPU"),
        (["--rounds", "3"], "No such option"),
        (["counters", "--output", "/proc/nowhere"], "error: the folder '/proc/nowhere' cannot"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_suite_says_so(tmp_path: Path) -> None:
    for arguments in (["gpu"], ["step", "--device", "cuda"]):
        done = bench(*arguments, "--output", tmp_path)
        assert done.exit_code == 2
        assert "needs a CUDA device" in done.output
    assert not list(tmp_path.iterdir())


def test_the_floor_counts_each_operation_once() -> None:
    found = operations("resnet20", batch=1)
    forward = sum(one.flops for one in found if one.kind == "forward")
    # Of 3 taps a pixel along a side of 32, two meet the padding: 94 of 96; of every second, one.
    first, same = 3 * 16 * 94**2, 16 * 16 * 94**2 * 6
    second = 16 * 32 * 47**2 + 32 * 32 * 46**2 * 5
    third = 32 * 64 * 23**2 + 64 * 64 * 22**2 * 5
    assert forward == pytest.approx(2 * (first + same + second + third + 640), rel=1e-12)
    first *= 2  # whose input needs no gradient
    assert sum(one.flops for one in found) == pytest.approx(3 * forward - first, rel=1e-12)
    # 269,722 parameters; weight, gradient and momentum are read, two of them written
    assert found[-1] == Operation("", "optimizer", 0.0, 20.0 * 269_722)


def test_an_operation_takes_the_slower_of_its_two_limits() -> None:
    found = [Operation("a", "forward", 100.0, 10.0), Operation("b", "forward", 10.0, 100.0)]
    assert floor_seconds(found, rate=10.0, bandwidth=5.0) == 10 + 20


def test_occupancy_is_1_where_no_core_ever_waits() -> None:
    busy = [Span(0, 30, 30), Span(0, 30, 30), Span(30, 60, 30), Span(30, 60, 30)]
    assert occupancy(busy, 2) == 1
    late = [Span(0, 30, 30), Span(3, 33, 30)]
    assert occupancy(late, 2) == pytest.approx(33 / 30)


def test_what_a_trial_more_costs_leaves_the_start_out() -> None:
    small, large = (Measured(count, 20 + 0.25 * count, 5, 1, 0, 0) for count in (100, 1000))
    assert further(small, large) == pytest.approx(0.25)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two whole studies; where a machine is busy, minutes each
def test_a_study_that_grows_is_tracked_whole(tmp_path: Path) -> None:
    done = bench("scaling", "--quick", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    (record,) = read_records(tmp_path, SUITES)
    (table,) = record.outcome.tables
    counts = [(row[0], row[-1]) for row in table.rows]
    assert counts == [(size, size + 1) for size in QUICK_SIZES]
    assert all(0 < row[-2] < 1.5 for row in table.rows), "GiB"


def test_trials_side_by_side_on_the_cpu() -> None:
    case = Case("ste", "W1A32", "resnet8", batch=2)
    assert side_by_side(2, case, "cpu", "eager", steps=1) > 0


@pytest.mark.slow
def test_the_grid_has_a_cell_for_each_engine_and_batch() -> None:
    cells = gpu.grid(Setting(quick=True), until=float("inf"))
    assert len({(cell.case, cell.engine, cell.precision) for cell in cells}) == len(cells)
    assert {cell.engine for cell in cells} == {"eager", "captured"}
    assert all(cell.epoch for cell in cells)


def test_a_grid_that_has_no_time_left_measures_nothing() -> None:
    cells = gpu.grid(Setting(quick=True), until=0.0)
    assert cells
    assert all(cell.epoch is None and cell.row()[-1] is None for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["paper_style", "limits", "harness", "gpu"])
def test_a_long_suite_runs(suite: str, tmp_path: Path) -> None:
    done = bench(suite, "--quick", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    (record,) = read_records(tmp_path, SUITES)
    assert all(record.outcome.figures.values())
