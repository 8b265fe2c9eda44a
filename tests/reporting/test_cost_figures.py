"""Pareto and cost figures: which rows no cheaper one beats, and that nothing is covered."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from synthetic_costs import MACHINE, costly, costs, sums
from synthetic_results import make_plan

from qbench.reporting.compare import Comparison
from qbench.reporting.figure_cost import draw_cost
from qbench.reporting.figure_pareto import draw_pareto, non_dominated
from qbench.reporting.spread import FLOAT_ROOM, spread
from qbench.reporting.style import looks, style
from qbench.study.plan import Cell

METHODS = [
    "ste", "dorefa", "lsq", "daq", "metaquant", "quantnet", "negative_control",
    "quantization_networks", "lsq (init=mse)", "a_{b} $x$ & <i>", "me|you", "long " * 9,
]  # fmt: skip
BITS = ["W1A32", "W2A32", "W4A32", "W1A1", "W2A2", "W4A4"]


def accuracy(cell: Cell) -> float:
    """More with each bit, other for each row and seed."""
    bits = cell.trial.bits
    noise = np.random.default_rng([cell.trial.seed, len(cell.label), bits.weight])
    return 0.9 - 0.1 / bits.weight - 0.1 / bits.activation + float(noise.normal(0, 0.01))


def study(
    labels: Sequence[str], bits: Sequence[str], seeds: Sequence[int] = (0, 1, 2)
) -> Comparison:
    def changes(cell: Cell) -> dict[str, object]:
        place = list(labels).index(cell.label)
        return {
            "audit": sums(cell.trial) | {"cost": costs(cell.trial, kernels=400 + 300 * place)},
            "seconds": {"train": 100.0 * (1 + place / 4) + cell.trial.seed},
            "environment": {"machine": MACHINE, "device": "cpu", "threads": 1,
                            "peak_memory_is_own": True,
                            "peak_memory_bytes": (400 + 20 * place + cell.trial.seed) * 2**20},
        }  # fmt: skip

    return costly(make_plan(labels, bits=bits, seeds=seeds), accuracy, changes)


def drawn(draw, comparison: Comparison) -> Figure | None:
    floats = [label for label in comparison.labels if comparison.is_float(label)]
    with style():
        figure = draw(comparison, comparison.pairs[0], looks(comparison.labels, floats))
        if figure is not None:
            FigureCanvasAgg(figure).draw()  # lays the figure out
    return figure


def overlaps(figure: Figure, texts: Sequence[object]) -> list[tuple[str, str]]:
    renderer = figure.canvas.get_renderer()
    boxes = [(one.get_text(), one.get_window_extent(renderer)) for one in texts if one.get_text()]
    return [(a, b) for (a, one), (b, two) in combinations(boxes, 2) if one.overlaps(two)]


def test_the_front_is_what_no_cheaper_point_equals() -> None:
    costs_ = [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]
    values = [70.0, 72.0, 71.0, 80.0, 80.0, 79.0]
    assert non_dominated(costs_, values) == [1, 3]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_its_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    costs_, values = draw.integers(0, 6, 30).tolist(), draw.integers(0, 6, 30).tolist()
    front = non_dominated(costs_, values)
    points = list(zip(costs_, values, strict=True))
    expected = {
        point
        for point in points
        if not any(c <= point[0] and v >= point[1] and (c, v) != point for c, v in points)
    }
    assert {points[place] for place in front} == expected
    assert len(front) == len(expected)


@pytest.mark.parametrize("costs_", [[5.0], [5.0] * 12, [1.0] * 24 + [1.2] * 12 + [9.0], [1, 1e6]])
def test_points_stand_apart_in_order_and_inside(costs_: list[float]) -> None:
    width = 6.5
    found = spread(costs_, width)
    steps = np.diff(found.places)
    assert (steps > 0.01).all()  # inches; a marker is 0.07 wide and most differ in height too
    assert found.places[0] > 0
    assert found.places[-1] < width - FLOAT_ROOM
    assert found.cost_at(found.inches(3.0)) == pytest.approx(3.0)


def test_a_column_stands_around_its_cost() -> None:
    found = spread([1.0, 1.0, 1.0, 10.0], 6.5)
    assert found.places[1] == pytest.approx(found.inches(1.0))
    assert found.places[3] == pytest.approx(found.inches(10.0))


@pytest.mark.parametrize(
    ("labels", "bits"), [(["float", *METHODS], BITS), (["float", "lsq"], ["W4A4"]), (["lsq"], BITS)]
)
def test_no_label_covers_another(labels: list[str], bits: list[str]) -> None:
    comparison = study(labels, bits)
    for draw in (draw_pareto, draw_cost):
        figure = drawn(draw, comparison)
        assert figure is not None
        for axes in figure.axes:
            assert overlaps(figure, axes.texts) == []
            assert overlaps(figure, axes.get_xticklabels()) == []
            assert overlaps(figure, [*axes.texts, *axes.get_yticklabels()]) == []
        names = {text.get_text() for axes in figure.axes for text in axes.texts}
        assert len(bits) == 1 or draw is draw_cost or set(bits) <= names


def test_pareto_shows_each_row_at_its_accuracy_and_the_float_network() -> None:
    comparison = study(["float", "ste", "lsq"], ["W1A32", "W4A4"])
    figure = drawn(draw_pareto, comparison)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "deployed size (KiB)", "bit-operations of one image (G)",
    ]  # fmt: skip
    means = {group.accuracy_estimate.mean for group in comparison.groups.values()}
    for axes in figure.axes:
        shown = {bar[0].get_ydata()[0] for bar in axes.containers}
        assert shown == means
        assert len(axes.containers) == 4 + 1
    star = [
        text.get_text() for axes in figure.axes for text in axes.texts if "at" in text.get_text()
    ]
    assert star == ["at 1.03 MiB", "at 41.5 G"]  # (267,264 + 3,834) x 4 bytes; 40.6 M x 1,024


def test_an_axis_too_short_for_round_numbers_names_the_costs_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qbench.reporting.figure_pareto.TICKS", ((7.77,),))
    figure = drawn(draw_pareto, study(["float", "ste", "lsq"], ["W1A32"]))
    for axes in figure.axes:
        assert any(label.get_text() for label in axes.get_xticklabels())


def test_pareto_takes_the_size_alone_from_trials_that_recorded_no_costs() -> None:
    plan = make_plan(["float", "ste"], bits=["W1A32"], seeds=[0])
    comparison = costly(plan, accuracy, lambda cell: {"audit": sums(cell.trial)})
    figure = drawn(draw_pareto, comparison)
    assert [axes.get_xlabel() for axes in figure.axes] == ["deployed size (KiB)"]
    nothing = costly(plan, accuracy, lambda cell: {"audit": {}})
    assert drawn(draw_pareto, nothing) is None


def test_cost_shows_seeds_and_their_mean_relative_to_float() -> None:
    comparison = study(["float", "ste", "lsq"], ["W1A32"])
    figure = drawn(draw_cost, comparison)
    time, memory, kernels = figure.axes
    assert time.get_xlabel() == "training time (× float)"
    ratios = [(150 + seed) / (100 + seed) for seed in (0, 1, 2)]  # lsq's place is 2 of the labels
    lines = [line.get_xdata() for line in time.lines if set(line.get_ydata()) == {1}]
    assert lines[0] == pytest.approx(sorted(ratios))
    assert lines[1] == pytest.approx([np.mean(ratios)])
    assert memory.get_xlim()[0] == 0, "bars of memory begin at zero"
    assert [line.get_xdata()[0] for line in kernels.lines if set(line.get_ydata()) == {0}] == [700]


def test_cost_without_any_cost_is_no_figure() -> None:
    plan = make_plan(["ste"], bits=["W1A32"])
    bare = {"audit": {}, "seconds": {}, "environment": {}}
    assert drawn(draw_cost, costly(plan, accuracy, lambda cell: bare)) is None
    missing = costly(plan, lambda cell: -1.0)
    assert drawn(draw_cost, missing) is None
    assert drawn(draw_pareto, missing) is None
