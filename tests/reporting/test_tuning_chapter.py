"""The chapter on tuning, of searches whose answers are planted."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_comparison import compared
from synthetic_results import make_plan
from synthetic_searches import BEST, EPOCHS, ONLY, ROUNDS, SECONDS, TRIALS, study, tuned, written
from synthetic_searches import score as planted

from qbench.reporting.compare import Comparison
from qbench.reporting.document import Entry, Items, Part, Table, Text
from qbench.reporting.fairness_table import fairness_table
from qbench.reporting.figure_tuning import draw_sensitivity, draw_tuning
from qbench.reporting.knob_words import edge, short_names
from qbench.reporting.long import long_results, searched
from qbench.reporting.numbers import NOTHING
from qbench.reporting.report import write_report
from qbench.reporting.searches import RATE
from qbench.reporting.sensitivity import points, spread
from qbench.reporting.style import looks
from qbench.reporting.tuning_chapter import tuning_chapter, tuning_summary
from qbench.study.spaces import Choices, Range
from qbench.study.trial import Trial
from qbench.tuning.walk import FAILED

SETTING = ("resnet8", "digits", "W4A32")


@pytest.fixture(scope="module")
def finished() -> Comparison:
    return tuned(study())


def parts(comparison: Comparison) -> list[Part]:
    return list(tuning_chapter(comparison, []))


def table(comparison: Comparison, key: str) -> Table:
    (found,) = (part for part in parts(comparison) if isinstance(part, Table) and part.key == key)
    return found


def entry(found: Table, row: str, column: str) -> Entry:
    heads = [head for (head,) in found.columns]
    return dict(zip(heads, dict(found.rows)[row], strict=True))[column]


def words(comparison: Comparison) -> str:
    told = [part.text for part in parts(comparison) if isinstance(part, Text)]
    lists = [item for part in parts(comparison) if isinstance(part, Items) for item in part.items]
    return "\n".join([*told, *lists])


def test_a_study_without_tuning_has_no_chapter() -> None:
    comparison = compared(make_plan(), lambda cell: 0.9)
    assert not parts(comparison)
    assert not list(tuning_summary(comparison))


def test_the_rule_and_the_budget_are_told(finished: Comparison) -> None:
    told = words(finished)
    for fact in (
        f"{ROUNDS} rounds of search", f"of {TRIALS} trials each", "float included",
        "drawn at random", "seeds 1000 to 1002", "300 held-out images",
        "the test set is not opened",
        f"{4 * ROUNDS} of {4 * ROUNDS} searches have chosen",
        f"Trials spent: {4 * ROUNDS * TRIALS} of {4 * ROUNDS * TRIALS}",
        f"Epochs trained in searches: {4 * ROUNDS * TRIALS * EPOCHS}",
        "learning rate: 0.001 to 1 (log)",
    ):  # fmt: skip
        assert fact in told
    assert "not finished" not in told


def test_failed_trials_count_as_spent(finished: Comparison) -> None:
    failed = sum(planted(one.trial) == FAILED for one in finished.plan.attempts)
    assert failed > 0
    assert f"{failed} of them failed and count as spent (diverged {failed})" in words(finished)


def test_the_chosen_value_of_each_round_stands_in_its_place(finished: Comparison) -> None:
    shown = entry(table(finished, "chosen"), "ste, W4A32", "learning rate").text
    for one, text in zip(
        finished.plan.choices[ROUNDS : 2 * ROUNDS], shown.split(" / "), strict=True
    ):
        rates = [
            a.trial.training.optimizer.learning_rate
            for a in finished.plan.attempts
            if (a.label, a.round) == ("ste", one.attempt.round)
        ]
        nearest = min(rates, key=lambda rate: abs(planted_distance(rate)))
        assert text.split()[0] == f"{nearest:.3g}"


def planted_distance(rate: float) -> float:
    """In decades."""
    return math.log10(rate / BEST)


def test_a_round_that_kept_the_rows_own_values_shows_them(finished: Comparison) -> None:
    """0.1, the recipe's own rate, is where dorefa works; a draw rarely falls as near."""
    kept = entry(table(finished, "chosen"), "dorefa, W4A32", "rounds that kept its own").text
    own = [
        one.attempt.number == 0 for one in finished.plan.choices if one.attempt.label == "dorefa"
    ]
    assert kept == f"{sum(own)} of {ROUNDS}"
    shown = entry(table(finished, "chosen"), "dorefa, W4A32", "learning rate").text.split(" / ")
    assert [text == "0.1" for text, is_own in zip(shown, own, strict=True) if is_own] == [
        True
    ] * sum(own)


def test_a_choice_at_the_edge_of_its_space_is_marked() -> None:
    space = {RATE: {"low": 0.001, "high": 0.2, "log": True}}
    comparison = tuned(study(tuning={"recipe": space}))
    found = table(comparison, "chosen")
    assert "↑" in entry(found, "ste, W4A32", "learning rate").text
    assert any("widen the space" in note for note in found.notes)


@pytest.mark.parametrize(
    ("space", "value", "mark"),
    [
        (Range(0.01, 1.0, log=True), 0.1, ""),
        (Range(0.01, 1.0, log=True), 0.012, "↓"),
        (Range(0.01, 1.0, log=True), 0.9, "↑"),
        (Range(0.01, 1.0, log=True), 3.0, "↑"),  # the row's own value may lie beyond
        (Range(0.01, 1.0, log=True), 0.0, "↓"),
        (Range(0.0, 1.0), 0.3, ""),
        (Range(2, 4, whole=True), 4, "↑"),
        (Choices((1, 2, 4)), 2, ""),
        (Choices((1, 2, 4)), 4, "↑"),
        (Choices((4, 1, 2)), 1, "↓"),
        (Choices((1, 2)), 2, ""),  # of two, both are at an end
        (Choices(("a", "b", "c")), "c", ""),
        (Choices((True, False, 1)), True, ""),
        (Choices((0,)), 0, ""),
    ],
)
def test_edges(space: Range | Choices, value: object, mark: str) -> None:
    assert edge(space, value) == mark


def test_short_names_that_agree_say_whose_they_are() -> None:
    found = short_names(["training.optimizer.learning_rate", "options.batch", "training.batch"])
    assert list(found.values()) == ["learning rate", "method's batch", "batch"]
    same = ["training.schedule.name", "training.schedule", "options.schedule"]
    assert list(short_names(same).values()) == [*same[:2], "method's schedule"]


def test_tuned_accuracy_stands_beside_untuned(finished: Comparison) -> None:
    found = table(finished, "tuned")
    untuned = 100 * (0.9 - 0.05 * abs(planted_distance(0.1))) + 1  # the mean of seeds adds 1 point
    assert entry(found, "ste, W4A32", "untuned").value == pytest.approx(untuned)
    rounds = sorted(
        100 * (planted(one.attempt.trial) + 0.01)
        for one in finished.plan.choices
        if one.attempt.label == "ste"
    )
    assert entry(found, "ste, W4A32", "tuned").value == pytest.approx(rounds[1])
    gain = entry(found, "ste, W4A32", "Δ (points)")
    assert gain.value == pytest.approx(rounds[1] - untuned)
    assert gain.bold  # the same for every seed
    shown = entry(found, "ste, W4A32", "rounds").text
    assert shown == f"{rounds[0]:.2f} to {rounds[-1]:.2f}"
    assert len(entry(found, "float, W32A32", "validation").text.split(" / ")) == ROUNDS


def test_untuned_rows_are_no_ablations(finished: Comparison) -> None:
    assert finished.labels == ["float", "ste", "lsq", "dorefa"]
    assert not finished.ablations
    assert finished.baseline == "ste"


def test_a_row_that_works_at_one_learning_rate_is_shown_as_that(finished: Comparison) -> None:
    found = table(finished, "sensitivity")
    fragile = entry(found, "dorefa, W4A32", "learning rates")
    assert fragile.mark == "bad"
    assert entry(found, "ste, W4A32", "learning rates").mark == ""
    assert any("one learning rate only" in note for note in found.notes)
    own = spread(points(finished, finished.searches.of("dorefa", SETTING)))
    assert own is not None
    assert own.rates is not None
    assert ONLY / 1.5 < own.rates[0] <= ONLY <= own.rates[1] < ONLY * 1.5
    assert own.median == pytest.approx(30)


def test_the_share_of_failures_is_of_all_trials(finished: Comparison) -> None:
    mine = [a.trial for a in finished.plan.attempts if a.label == "lsq"]
    share = 100 * sum(planted(trial) == FAILED for trial in mine) / len(mine)
    assert entry(table(finished, "sensitivity"), "lsq, W4A32", "failed (%)").value == share


def test_a_row_of_which_every_trial_failed() -> None:
    def judge(trial: Trial) -> float:
        return FAILED if trial.quantizer.name == "lsq" else planted(trial)

    comparison = tuned(study(), judge)
    assert entry(table(comparison, "sensitivity"), "lsq, W4A32", "best").text == "all failed"
    assert entry(table(comparison, "tuned"), "lsq, W4A32", "validation").text == (
        "failed / failed / failed"
    )


def test_what_a_scheduler_ended_early_is_spent_but_not_judged() -> None:
    comparison = tuned(study(tuning={"scheduler": "asha"}))
    own = comparison.searches.of("ste", SETTING)
    whole = [one for search in own for one in search.tried if one.attempt.last]
    assert 0 < len(whole) < ROUNDS * TRIALS
    found = entry(table(comparison, "sensitivity"), "ste, W4A32", "trials")
    assert found.value == len(whole)
    trials, epochs, _ = comparison.searches.spent("ste")
    assert trials == ROUNDS * TRIALS
    assert epochs < ROUNDS * TRIALS * EPOCHS
    assert "successive halving" in words(comparison)


def test_best_so_far_never_falls_and_failures_are_flat(finished: Comparison) -> None:
    for search in finished.searches.all:
        curve = pd.Series(search.best_so_far())
        assert len(curve) == TRIALS
        assert curve.is_monotonic_increasing
        assert search.choice is not None
        assert curve.iloc[-1] == pytest.approx(100 * search.choice.score)


def test_the_fairness_audit_counts_what_searches_spent(finished: Comparison) -> None:
    found = fairness_table(finished)
    assert found is not None
    said = "\n".join(found.notes)
    assert f"trials in searches: {ROUNDS * TRIALS}" in said
    assert f"epochs in searches: {ROUNDS * TRIALS * EPOCHS}" in said
    assert "learning rate: tuned" in said
    assert "tuning trials: none" not in said
    failed = sum(planted(a.trial) == FAILED for a in finished.plan.attempts if a.label == "lsq")
    assert finished.searches.spent("lsq")[2] == SECONDS * (ROUNDS * TRIALS - failed)
    assert fairness_table(tuned(study(bits=["W4A32", "W2A32"]))) is not None


def test_the_numbers_of_searches_have_a_file(finished: Comparison) -> None:
    frame = searched(finished)
    assert len(frame) == 4 * ROUNDS * TRIALS
    assert frame["chosen"].sum() == 4 * ROUNDS
    best = frame[frame["chosen"] & (frame["label"] == "ste")]
    assert (best[RATE] / BEST).between(0.3, 3).all()
    assert frame[frame["state"] == "failed"]["validation_accuracy"].isna().all()


def test_results_tell_the_round(finished: Comparison) -> None:
    frame = long_results(finished)
    assert set(frame[frame["label"] == "ste"]["round"]) == {1, 2, 3}
    assert set(frame[frame["label"] == "ste [untuned]"]["round"]) == {0}
    assert "round" not in long_results(compared(make_plan(), lambda cell: 0.9))


def test_a_knob_of_one_row_is_empty_for_the_others_and_its_words_are_text(tmp_path: Path) -> None:
    key = "training.optimizer.name"
    comparison = tuned(study(tuning={"spaces": {"lsq": {key: ["sgd", "adam"]}}}))
    frame = searched(comparison)
    assert set(frame[frame["label"] == "lsq"][key]) == {"sgd", "adam"}
    assert frame[frame["label"] == "ste"][key].isna().all()
    frame.to_parquet(tmp_path / "tuning.parquet")
    shown = table(comparison, "chosen")
    assert entry(shown, "lsq, W4A32", "of the method").text.startswith("optimizer ")
    assert entry(shown, "ste, W4A32", "of the method").text == NOTHING


def test_midway_the_report_says_so_and_shows_what_is_known() -> None:
    def judge(trial: Trial) -> float | None:
        return planted(trial) if trial.quantizer.name in ("float", "ste") else None

    comparison = tuned(study(), judge)
    told = words(comparison)
    assert f"{2 * ROUNDS} of {4 * ROUNDS} searches have chosen" in told
    assert "Tuning is not finished" in told
    assert comparison.labels == ["float", "ste"]
    assert entry(table(comparison, "chosen"), "lsq, W4A32", "learning rate").text == "? / ? / ?"
    assert entry(table(comparison, "tuned"), "lsq, W4A32", "untuned").value is not None
    figure = draw_sensitivity(comparison, SETTING[:2], looks(["float", "ste", "lsq"], ["float"]))
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["float", "ste"]
    assert any("not finished" in line for line in tuning_summary(comparison))


def test_before_any_search_has_chosen_nothing_breaks() -> None:
    comparison = tuned(study(report={"baseline": "lsq"}), lambda trial: None)
    assert comparison.labels == []
    assert comparison.baseline is None
    assert "Trials spent: 0" in words(comparison)
    assert draw_tuning(comparison, SETTING[:2], {}) is None


def test_figures_hold_every_row(finished: Comparison) -> None:
    seen = looks(finished.labels, ["float"])
    for draw in (draw_tuning, draw_sensitivity):
        figure = draw(finished, SETTING[:2], seen)
        assert figure is not None
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == finished.labels
        assert len(figure.axes[0].lines) >= len(finished.labels)


def test_the_curve_is_the_mean_of_rounds(finished: Comparison) -> None:
    figure = draw_tuning(finished, SETTING[:2], looks(finished.labels, ["float"]))
    assert figure is not None
    line = figure.axes[0].lines[1]
    curves = [one.best_so_far() for one in finished.searches.of("ste", SETTING)]
    assert list(line.get_xdata()) == list(range(1, TRIALS + 1))
    assert list(line.get_ydata()) == pytest.approx(pd.DataFrame(curves).mean().tolist())


def test_a_search_without_learning_rates_has_no_such_figure() -> None:
    space = {"training.optimizer.weight_decay": {"low": 1e-5, "high": 1e-3, "log": True}}
    comparison = tuned(study(tuning={"recipe": space}))
    assert draw_sensitivity(comparison, SETTING[:2], looks(comparison.labels, ["float"])) is None
    assert len(table(comparison, "sensitivity").columns) == 7


HOSTILE = r"a|b_$x$ <b>&\~{}%#"


def test_every_format_is_written_and_names_are_no_markup(tmp_path: Path) -> None:
    quantizers = ["float", {"name": "ste", "label": HOSTILE}]
    plan = written(study(quantizers=quantizers, seeds=[0, 1]), tmp_path / "results")
    formats = ("markdown", "html", "latex", "csv", "parquet")
    report = write_report(plan, tmp_path / "results", tmp_path / "report", formats, {})
    names = {path.name for path in report.files}
    assert {"tuning.csv", "tuning.parquet", "report.md", "report.html", "tables.tex"} <= names
    assert any(name.startswith("tuning-resnet8") for name in names)
    assert any(name.startswith("sensitivity-resnet8") for name in names)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>&" not in page
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Tuning" in text
    assert r"a\|b\_\$x\$ &lt;b&gt;" in text
    assert "$x$" not in (tmp_path / "report" / "tables.tex").read_text()


def test_a_new_result_of_a_search_is_noticed(tmp_path: Path) -> None:
    of, results = study(quantizers=["float", "ste"], seeds=[0]), tmp_path / "results"

    def table_of(searches: int) -> str:
        plan = written(of, results, searches=searches)
        write_report(plan, results, tmp_path / "report", ("markdown",), {})
        return (tmp_path / "report" / "report.md").read_text()

    first, second = table_of(1), table_of(5)
    assert re.findall(r"Trials spent: (\d+)", first + second) == ["1", "5"]
