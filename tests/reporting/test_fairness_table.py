"""The fairness audit: what differs has a column, what is equal stands in one sentence."""

from typing import Any

import pytest
from synthetic_costs import MACHINE, costly, costs, sums
from synthetic_results import make_plan, make_trial

from qbench.reporting.document import Entry, Items, Table
from qbench.reporting.facts import fairness
from qbench.reporting.fairness_table import fairness_table
from qbench.reporting.latex import render_latex
from qbench.reporting.markdown import render_markdown
from qbench.reporting.numbers import NOTHING
from qbench.study.expand import expand
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Study

COSTS = ["added parameters", "training time", "state of training"]


def study(quantizers: list[Any], **changes: Any) -> Plan:
    settings = {
        "study": "fair",
        "question": "Was it?",
        "quantizers": quantizers,
        "models": ["resnet8"],
        "data": {"sets": ["digits"]},
        "bits": ["W2A32", "W2A2"],
        "seeds": [0, 1, 2],
        "training": {"epochs": 20},
    }
    return expand(Study.model_validate(settings | changes))


def table(plan: Plan, changes: Any = lambda cell: {}) -> Table:
    found = fairness_table(costly(plan, lambda cell: 0.9, changes))
    assert found is not None
    return found


def heads(found: Table) -> list[str]:
    return [head for (head,) in found.columns]


def entry(found: Table, row: str, column: str) -> Entry:
    return dict(zip(heads(found), dict(found.rows)[row], strict=True))[column]


def test_what_is_equal_for_all_rows_stands_in_a_sentence_only() -> None:
    found = table(study(["float", "ste", "lsq"]))
    assert heads(found) == COSTS
    equal = found.notes[0]
    for words in (
        "start: random weights", "epochs: 20", "optimizer: sgd, momentum 0.9", "learning rate: 0.1",
        "schedule: cosine", "weight decay: 0.0001", "batch: 128", "gradient clipping: none",
        "precision: float32", "layers in float: first, last, shortcut", "tuning trials: none",
        "activations by: the same method", "trials with a result: all",
    ):  # fmt: skip
        assert words in equal


def test_a_row_with_another_recipe_says_so_and_the_others_say_same() -> None:
    own = {"training": {"epochs": 90, "optimizer": {"name": "adam", "learning_rate": 0.001},
                        "schedule": {"name": "step", "milestones": [30, 60]},
                        "clip_gradient": 5}}  # fmt: skip
    found = table(study(["float", "ste", {"name": "lsq"} | own]))
    factors = ["epochs", "optimizer", "learning rate", "schedule", "gradient clipping"]
    assert heads(found) == [*factors, *COSTS]
    by = {label: [entry(found, label, name) for name in factors] for label in ("ste", "lsq")}
    assert [one.text for one in by["ste"]] == ["same"] * 5
    assert [one.text for one in by["lsq"]] == [
        "90", "adam", "0.001", "times 0.1 at 30, 60", "5",
    ]  # fmt: skip
    assert all(one.bold for one in by["lsq"])
    assert not any(one.bold or one.mark for one in by["ste"])
    assert "learning rate: 0.1" in found.notes[1]


@pytest.mark.parametrize(("others", "head"), [(1, "factor"), (12, "quantizer")])
def test_many_factors_of_few_rows_stand_below_each_other(others: int, head: str) -> None:
    training = {"epochs": 3, "batch": 7, "label_smoothing": 0.1, "clip_gradient": 2.5,
                "optimizer": {"learning_rate": 0.5, "weight_decay": 0}}  # fmt: skip
    rows = [{"name": "lsq", "label": f"row {number}"} for number in range(others)]
    found = table(study(["float", *rows, {"name": "ste", "training": training}]))
    assert found.head == head
    places = ("gradient clipping", "ste") if head == "factor" else ("ste", "gradient clipping")
    assert entry(found, *places).text == "2.5"
    assert all(len(cells) == len(found.columns) for _, cells in found.rows)


def sentences(plan: Plan) -> str:
    parts = list(fairness(costly(plan, lambda cell: 0.9, lambda cell: {})))
    return "\n".join(line for part in parts if isinstance(part, Items) for line in part.items)


def test_rows_by_their_papers_are_no_same() -> None:
    rows = [{"name": "float", "recipe": "cifar_200ep"}, "daq", "pact"]
    plan = study(rows, recipe="paper", training={"label_smoothing": 0.1})
    found = table(plan)
    assert [entry(found, row, "epochs").text for row in ("float", "daq", "pact")] == [
        "200", "400", "200",
    ]  # fmt: skip
    assert not any("the study's own recipe: " in note for note in found.notes)
    assert "label smoothing: 0.1" in found.notes[0]
    shared = next(
        part
        for part in fairness(costly(plan, lambda cell: 0.9, lambda cell: {}))
        if isinstance(part, Table) and part.key == "recipe"
    )
    assert [name for name, _ in shared.rows] == ["label_smoothing"]
    told = sentences(plan)
    assert "float has the recipe cifar_200ep: the field's common" in told
    assert "daq has the recipe paper:daq: Kim et al." in told


def test_a_recipe_and_other_seeds_are_told() -> None:
    again = {"name": "ste", "label": "ste again", "seed_offset": 1000}
    told = sentences(study(["float", "ste", again], recipe="cifar_400ep"))
    assert "The rows' recipe is cifar_400ep: the CIFAR recipe of binary networks" in told
    assert "ste again: ste, trained with the seeds plus 1000" in told


def test_another_method_for_activations_and_an_update_of_its_own_are_differences() -> None:
    rows = ["float", "ste", {"name": "metaquant", "activations": "ste"}]
    found = table(study(rows))
    label = "metaquant + ste"
    assert entry(found, label, "activations by") == Entry("ste", bold=True)
    assert entry(found, "ste", "activations by").text == "same"
    assert entry(found, "float", "activations by").text == NOTHING
    assert entry(found, label, "weights moved by").text == "the method's own rule"


def test_a_start_from_float_names_its_epochs() -> None:
    found = table(study(["ste", "lsq"], start="float"))  # the float trials are needed, no row
    assert "start: own float network of the seed, after 20 epochs" in found.notes[0]


def test_rows_without_some_results_are_marked() -> None:
    plan = study(["float", "ste", "lsq"])

    def accuracy(cell: Cell) -> float:
        return -1.0 if cell.label == "lsq" and cell.trial.seed == 2 else 0.9

    found = fairness_table(costly(plan, accuracy))
    assert found is not None
    assert entry(found, "lsq", "trials with a result") == Entry("4 of 6", bold=True, value=4 / 6)
    assert entry(found, "float", "trials with a result").text == "3 of 3"  # one for both bits


def test_costs_are_from_the_least_to_the_most_over_settings() -> None:
    def changes(cell: Cell) -> dict[str, object]:
        both = cell.label == "lsq" and cell.trial.bits.activation < 32
        cost = costs(cell.trial, added=24 if both else 12)
        times = {"float": 1.0, "ste": 1.1, "lsq": 2.0 if both else 1.5}[cell.label]
        return {
            "audit": sums(cell.trial) | {"cost": cost},
            "seconds": {"train": 100.0 * times},
            "environment": {"machine": MACHINE, "device": "cpu", "threads": 1},
        }

    found = table(study(["float", "ste", "lsq"]), changes)
    assert entry(found, "lsq", "added parameters") == Entry("12 to 24", value=18.0)
    assert entry(found, "lsq", "training time").text == "1.50× to 2.00×"
    assert entry(found, "ste", "training time").text == "1.10×"
    assert entry(found, "float", "added parameters").text == "0"


def test_older_trials_leave_what_they_did_not_record_out() -> None:
    found = table(study(["float", "ste"]), lambda cell: {"audit": sums(cell.trial)})
    assert heads(found) == ["training time"]
    bare = table(study(["float", "ste"]), lambda cell: {"audit": {}, "seconds": {}})
    assert heads(bare) == []
    assert len(bare.rows) == 2


def test_ablations_are_no_rows_of_it() -> None:
    ablation = Cell(make_trial("lsq", "W4A32", 0), "lsq [x]", ablation="x")
    found = table(make_plan(["float", "lsq"], extra=[ablation]))
    assert [label for label, _ in found.rows] == ["float", "lsq"]


def test_hostile_names_come_through() -> None:
    names = ["a_b & 50 % {x} $y$ #1 ~^\\", "<script>alert(1)</script> | *b* `c` [d](e)"]
    rows = [{"name": "ste", "label": name, "training": {"epochs": 3}} for name in names]
    found = table(study(["float", *rows]))
    assert [label for label, _ in found.rows][1:] == names
    assert "<script>" not in render_markdown([found])
    assert "50 \\%" in render_latex([found], "hostile")


def test_no_rows_no_table() -> None:
    plan = Plan(study(["ste"]).study, ())  # all of it excluded
    assert fairness_table(costly(plan, lambda cell: 0.9)) is None


@pytest.mark.parametrize(("second", "words"), [
    ("a" * 32, "All 12 trials on digits saw the same images (hash aaaaaaaaaaaa)."),
    ("b" * 32, "hash aaaaaaaaaaaa: 8; hash bbbbbbbbbbbb: 4 trials"),
])  # fmt: skip
def test_whether_all_saw_the_same_images(second: str, words: str) -> None:
    def changes(cell: Cell) -> dict[str, object]:
        digest = second if cell.trial.seed == 2 else "a" * 32
        return {"environment": {"data": {"name": "digits", "digest": digest}}}

    plan = study(["ste", "lsq"])
    told = list(fairness(costly(plan, lambda cell: 0.9, changes)))
    assert words in render_markdown(told)
