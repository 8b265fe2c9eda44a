"""A study file that is edited between runs: what changed is said, what still belongs is kept."""

import json
from pathlib import Path

import pytest
from fault_study import run, touched, trials, write_study

pytestmark = pytest.mark.fault


def test_an_edit_is_told_and_finished_trials_that_belong_are_kept(finished: Path) -> None:
    before = touched(finished)
    write_study(
        finished,
        **{
            "[float, ste, lsq]": "[float, dorefa, lsq]",
            "bits: [W2A2]": "bits: [W2A2, W4A4]",
            "enabled: false": "enabled: false, uri: 'http://127.0.0.1:9'",
        },
    )
    plan = run(finished, "--plan")
    edited = run(finished)
    assert edited.exit_code == 0, edited.output
    for output in (plan.output, edited.output):
        (line,) = [line for line in output.splitlines() if "edited since the last run" in line]
        assert line == (
            "  edited since the last run: quantizers.ste is gone; quantizers.dorefa is new; "
            "bits ['W2A2'] is now ['W2A2', 'W4A4']; tracking.uri null is now 'http://127.0.0.1:9'"
        ).replace("['W2A2']", '["W2A2"]').replace("['W2A2', 'W4A4']", '["W2A2", "W4A4"]')
        assert "  2 of 3 finished trials still belong to the study; all are kept" in output
    assert "3 to run, 2 done" in edited.output
    assert {name: touched(finished)[name] for name in before} == before
    assert len(trials(finished)) == 6, "that of the row which is gone lies there still"
    again = run(finished)
    assert "edited" not in again.output
    assert "0 to run, 5 done" in again.output


def test_a_recipe_that_is_edited_makes_other_trials_of_all(finished: Path) -> None:
    edited = run(finished, "--plan", "training.epochs=1", "quantizers.1.label=mine")
    assert "training.epochs 3 is now 1" in edited.output
    assert "0 of 3 finished trials still belong" in edited.output
    assert "quantizers.ste is gone; quantizers.mine is new" in edited.output


def test_what_changes_no_trial_keeps_them_all(finished: Path) -> None:
    edited = run(finished, "--plan", "--json", "resources.checkpoint_seconds=7")
    assert json.loads(edited.output)["edits"] == [
        "  edited since the last run: resources.checkpoint_seconds 60.0 is now 7.0",
        "  3 of 3 finished trials still belong to the study; all are kept",
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"study": {"study": 1}, "trials": []}', "[" * 9999]
)
def test_a_damaged_memory_counts_as_none(finished: Path, text: str) -> None:
    (finished / "results" / ".small.study.json").write_text(text)
    plan = run(finished, "--plan", "training.epochs=1")
    assert plan.exit_code == 0, plan.output
    assert "edited" not in plan.output
