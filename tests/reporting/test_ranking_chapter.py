"""The chapter in words: what it claims, what it must not, and that names come through."""

import re
from pathlib import Path

import pytest
from synthetic_comparison import compared
from synthetic_results import make_plan
from test_ranking import BITS, DATA, ROWS, grid, planted, without

from qbench.reporting.document import Figure, Items, Part, Table, Text
from qbench.reporting.figure_critical import draw_critical
from qbench.reporting.figure_profile import draw_profile
from qbench.reporting.latex import render_latex
from qbench.reporting.markdown import render_markdown
from qbench.reporting.ranking_chapter import ranking_chapter
from qbench.reporting.style import looks, style

HOSTILE = r"<b>$x_1$ & \evil|{}%#"


def table(parts: list[Part], key: str) -> Table:
    (found,) = (part for part in parts if isinstance(part, Table) and part.key == key)
    return found


def words(parts: list[Part]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, Text))


def test_a_planted_winner_is_claimed_with_its_test() -> None:
    parts = list(ranking_chapter(compared(grid(), planted({"lsq": 0.02})), []))
    found = table(parts, "signed-rank")
    assert "exact and two-sided, of each row against ste" in found.caption
    assert "Holm's correction, tests: 2." in found.caption
    assert "over 8 blocks is 0.0156; a difference is claimed below 0.05" in found.caption
    claims = {label: entries[-1].text for label, entries in found.rows}
    assert claims == {"lsq": "above ste", "dorefa": "none"}
    assert "Friedman's test" in found.notes[0]
    assert "smallest attainable" in found.notes[0]


def test_too_few_blocks_claim_nothing_and_say_so() -> None:
    plan = make_plan(ROWS, bits=BITS)
    parts = list(ranking_chapter(compared(plan, planted({"lsq": 0.2})), []))
    found = table(parts, "signed-rank")
    assert ("claim",) not in found.columns
    assert "over 4 blocks is 0.25. That is not below 0.05" in found.caption  # 2 tests × 2 / 2^4
    assert "no difference is claimed" in found.caption
    assert not any(entry.bold or entry.mark for _, entries in found.rows for entry in entries)


def test_all_pairs_on_request_are_corrected_over_all_pairs() -> None:
    comparison = compared(grid(), planted({"lsq": 0.02, "dorefa": -0.01}))
    found = table(list(ranking_chapter(comparison, [], all_pairs=True)), "signed-rank")
    assert "of every pair of rows; Holm's correction, tests: 3." in found.caption
    assert [label for label, _ in found.rows] == ["lsq − ste", "lsq − dorefa", "ste − dorefa"]
    assert [entries[-1].text for _, entries in found.rows] == [
        "above ste", "above dorefa", "above dorefa",
    ]  # fmt: skip


def test_what_failed_and_what_was_left_out_is_listed() -> None:
    blocks = [("resnet8", data, "W1A32") for data in DATA]
    parts = list(ranking_chapter(compared(grid(), without("lsq", *blocks, state="failed")), []))
    (items,) = (part for part in parts if isinstance(part, Items))
    assert "counts as an accuracy of 0" in items.items[0]
    assert "lsq 6" in items.items[0]
    parts = list(ranking_chapter(compared(grid(), without("lsq", blocks[0])), []))
    (items,) = (part for part in parts if isinstance(part, Items))
    assert "resnet8 on digits, W1A32" in items.items[0]


def test_two_seeds_give_aggregates_without_interval() -> None:
    parts = list(ranking_chapter(compared(grid(seeds=(0, 1)), planted({"lsq": 0.02})), []))
    texts = [e.text for _, entries in table(parts, "aggregates").rows for e in entries]
    assert not any("[" in text for text in texts)
    assert table(parts, "ranking").rows[0][1][-1].text == "—"  # by interval
    three = list(ranking_chapter(compared(grid(), planted({"lsq": 0.02})), []))
    assert "[" in table(three, "aggregates").rows[0][1][0].text


def test_the_winner_of_every_run_beats_the_baseline_always() -> None:
    parts = list(ranking_chapter(compared(grid(), planted({"lsq": 0.1})), []))
    rows = dict(table(parts, "aggregates").rows)
    assert rows["lsq"][1].text == "100.0 [100.0, 100.0]"
    assert rows["dorefa"][1].value == pytest.approx(50.0)  # the same numbers


def test_without_float_the_aggregates_are_accuracies() -> None:
    plan = make_plan(ROWS[1:], data=DATA, bits=BITS)
    found = table(list(ranking_chapter(compared(plan, planted({})), [])), "aggregates")
    assert "interquartile mean of the accuracy (%)" in found.caption
    assert "Accuracies as they are" in found.legend


def test_one_setting_has_no_chapter() -> None:
    comparison = compared(make_plan(ROWS), planted({}))
    assert list(ranking_chapter(comparison, [])) == []
    assert draw_critical(comparison, looks(comparison.labels, ["float"])) is None
    assert draw_profile(comparison, looks(comparison.labels, ["float"])) is None


def test_figures_stand_beside_their_tables() -> None:
    figures = [(kind, Figure(Path(kind), kind)) for kind in ("critical", "profile")]
    parts = list(ranking_chapter(compared(grid(), planted({})), figures))
    order = [p.key if isinstance(p, Table) else p.caption for p in parts
             if isinstance(p, Table | Figure)]  # fmt: skip
    assert order == ["ranking", "signed-rank", "critical", "aggregates", "profile"]
    assert "two rows without a common bar may still not be told apart" in words(parts)


def test_hostile_names_come_through() -> None:
    plan = make_plan(("float", "ste", HOSTILE, "lsq"), data=DATA, bits=BITS)
    parts = list(ranking_chapter(compared(plan, planted({HOSTILE: 0.02})), [], all_pairs=True))
    text = render_markdown(parts)
    assert "<" not in text
    lines = [line for line in text.splitlines() if line.startswith("| &lt;b&gt;")]
    assert len(lines) == 4  # ranks, two pairs of which it is first, aggregates
    latex = re.sub(r"\\[{}\\]", "", render_latex([p for p in parts if isinstance(p, Table)], "x"))
    assert latex.count("{") == latex.count("}")


@pytest.mark.parametrize("draw", [draw_critical, draw_profile])
def test_twelve_long_and_hostile_names_are_drawn_apart(draw) -> None:  # type: ignore[no-untyped-def]
    labels = [f"{HOSTILE} with a long list of options, number {n}" for n in range(12)]
    plan = make_plan(["float", *labels], data=DATA, bits=BITS)
    better = {label: 0.001 * n for n, label in enumerate(labels)}
    comparison = compared(plan, planted(better))
    with style():
        figure = draw(comparison, looks(comparison.labels, ["float"]))
        assert figure is not None
        figure.draw_without_rendering()
        texts = [text for axes in figure.axes for text in (*axes.texts, axes.title)]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) >= 12
    inside = figure.bbox.padded(1)
    for number, box in enumerate(boxes):
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
        assert not any(box.overlaps(other) for other in boxes[:number])
