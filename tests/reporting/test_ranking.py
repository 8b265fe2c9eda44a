"""What enters a ranking, and what is said of planted winners and ties."""

from collections.abc import Callable

import pytest
from synthetic_comparison import Outcome, compared
from synthetic_results import make_plan, make_trial

from qbench.reporting.ranking import Ranking, rank
from qbench.study.plan import Cell, Plan

ROWS = ("float", "ste", "lsq", "dorefa")
BITS = ("W1A32", "W2A32", "W3A32", "W4A32")
DATA = ("digits", "cifar10")
BLOCKS = [("resnet8", data, bits) for data in DATA for bits in BITS]


def planted(better: dict[str, float]) -> Callable[[Cell], Outcome]:
    """Accuracies that differ by block and seed alike for every row, and by the row."""

    def outcome(cell: Cell) -> Outcome:
        trial = cell.trial
        block = 0.01 * len(trial.data.label) + 0.005 * int(str(trial.bits)[1])
        own = better.get(cell.label, 0.0) * (1 + 0.1 * int(str(trial.bits)[1]))
        return 0.7 + block + 0.002 * trial.seed + own

    return outcome


def ranked(plan: Plan, outcome: Callable[[Cell], Outcome]) -> Ranking:
    found = rank(compared(plan, outcome))
    assert found is not None
    return found


def grid(**more: object) -> Plan:
    return make_plan(ROWS, data=DATA, bits=BITS, **more)  # type: ignore[arg-type]


def without(label: str, *blocks: tuple[str, str, str], state: str = "missing"):  # type: ignore[no-untyped-def]
    """All rows equal, and one without results somewhere."""

    def outcome(cell: Cell) -> Outcome:
        trial = cell.trial
        place = (trial.model.label, trial.data.label, str(trial.bits))
        return state if cell.label == label and place in blocks else 0.8

    return outcome


def test_a_planted_winner_is_found() -> None:
    found = ranked(grid(), planted({"lsq": 0.02, "dorefa": -0.01}))
    assert list(found.average_ranks.items()) == [("lsq", 1.0), ("ste", 2.0), ("dorefa", 3.0)]
    assert found.by_mean("lsq", "ste") == (8, 0, 0)
    assert found.by_interval("lsq", "ste") == (8, 0, 0)  # every seed says the same
    first, second = found.versus_baseline
    assert (first.row, second.row) == ("lsq", "dorefa")
    # Equal differences in pairs of blocks tie, but all signs agree: 2 of 2^8 ways, twice.
    assert first.adjusted == second.adjusted == pytest.approx(2 * 2 / 2**8)
    assert (first.test.effect, second.test.effect) == (1.0, -1.0)
    assert first.difference == pytest.approx(2 * 1.25)  # points; 1 + 0.1 × (1 + 2 + 3 + 4) / 4


def test_a_planted_tie_is_a_tie() -> None:
    found = ranked(grid(), planted({}))
    assert set(found.average_ranks.values()) == {2.0}
    assert found.by_mean("lsq", "ste") == (0, 8, 0)
    assert found.by_interval("lsq", "ste") == (0, 8, 0)
    assert {pair.adjusted for pair in found.all_pairs} == {1.0}


def test_equal_means_of_other_seeds_are_a_tie() -> None:
    values = {"ste": (0.1, 0.2, 0.3), "lsq": (0.3, 0.1, 0.2), "dorefa": (0.2, 0.3, 0.1)}
    found = ranked(grid(), lambda c: values.get(c.label, (0.9,) * 3)[c.trial.seed])
    assert found.by_mean("lsq", "ste") == (0, 8, 0)  # though sums of floats depend on their order


def test_float_is_the_reference_and_does_not_compete() -> None:
    found = ranked(grid(), planted({"float": 0.1}))
    assert found.labels == ("ste", "lsq", "dorefa")
    assert found.shares.of_float
    assert len(found.blocks) == 8


def test_scores_are_shares_of_the_float_network_of_the_same_seed() -> None:
    floats = {0: 0.8, 1: 0.5, 2: 0.4}
    found = ranked(grid(), lambda c: floats[c.trial.seed] * (1 if c.label == "float" else 0.5))
    for scores in found.shares.rows["ste"]:
        assert scores.tolist() == [50.0] * 3


def test_seeds_without_a_float_network_are_left_out() -> None:
    def outcome(cell: Cell) -> Outcome:
        return "failed" if cell.label == "float" and cell.trial.seed == 1 else 0.8

    found = ranked(grid(), outcome)
    assert found.shares.of_float
    assert {len(scores) for scores in found.shares.rows["lsq"]} == {2}


def test_one_block_without_a_float_network_makes_all_scores_accuracies() -> None:
    found = ranked(grid(), without("float", ("resnet8", "digits", "W32A32")))
    assert not found.shares.of_float
    assert found.shares.rows["ste"][0].tolist() == [80.0] * 3


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_row_that_failed_ranks_last_in_its_block(state: str) -> None:
    found = ranked(grid(), without("lsq", BLOCKS[0], state=state))
    assert len(found.blocks) == 8
    assert found.by_mean("lsq", "ste") == (0, 7, 1)
    assert found.average_ranks["lsq"] == pytest.approx((7 * 2 + 3) / 8)
    assert [(label, tuple(block), runs) for label, block, runs, _ in found.failed] == [
        ("lsq", BLOCKS[0], 3)
    ]


def test_rows_that_failed_in_a_block_tie_there() -> None:
    def outcome(cell: Cell) -> Outcome:
        bad = cell.label in ("lsq", "dorefa") and str(cell.trial.bits) == "W1A32"
        return "failed" if bad else planted({"lsq": 0.01})(cell)

    assert ranked(grid(), outcome).by_mean("lsq", "dorefa") == (6, 2, 0)


def test_one_missing_block_of_a_row_leaves_the_block_out() -> None:
    found = ranked(grid(), without("lsq", BLOCKS[3]))
    assert found.labels == ("ste", "lsq", "dorefa")  # 7 × 3 scores are more than 8 × 2
    assert [tuple(block) for block in found.left_blocks] == [BLOCKS[3]]
    assert found.left_rows == ()


def test_a_row_that_was_hardly_run_is_left_out() -> None:
    found = ranked(grid(), without("lsq", *BLOCKS[2:]))
    assert found.labels == ("ste", "dorefa")  # 8 × 2 scores are more than 2 × 3
    assert found.left_rows == ("lsq",)
    assert found.left_blocks == ()


def test_the_chosen_baseline_is_kept_at_any_cost() -> None:
    plan = grid(report={"baseline": "lsq"})
    found = ranked(plan, without("lsq", *BLOCKS[2:]))
    assert found.baseline == "lsq"
    assert [tuple(block) for block in found.blocks] == BLOCKS[:2]
    never = ranked(plan, without("lsq", *BLOCKS))
    assert (never.baseline, never.left_rows) == ("ste", ("lsq",))  # nothing of it could be kept


def test_without_a_baseline_among_the_rows_it_is_the_first() -> None:
    plan = make_plan(("float", "lsq", "dorefa"), bits=BITS)
    assert ranked(plan, planted({})).baseline == "lsq"


def test_a_block_that_is_not_planned_is_left_out_without_a_word_of_other_rows() -> None:
    extra = [
        Cell(make_trial(label, "W8A32", seed), label) for label in ("ste", "lsq") for seed in (0, 1)
    ]
    plan = make_plan(ROWS, bits=(*BITS, "W8A32"))
    kept = [c for c in plan.cells if str(c.trial.bits) != "W8A32"]
    found = ranked(Plan(plan.study, (*kept, *extra)), planted({}))
    assert [block.bits for block in found.left_blocks] == ["W8A32"]


@pytest.mark.parametrize(
    "plan",
    [
        make_plan(("float", "ste"), bits=BITS),
        make_plan(ROWS, bits=("W4A32",)),
    ],
    ids=["one row", "one block"],
)
def test_too_little_to_rank(plan: Plan) -> None:
    assert rank(compared(plan, planted({}))) is None


def test_nothing_run_is_nothing_to_rank() -> None:
    assert rank(compared(grid(), lambda cell: "missing")) is None


def test_two_seeds_say_nothing_by_interval() -> None:
    found = ranked(grid(seeds=(0, 1)), planted({"lsq": 0.02}))
    assert found.by_mean("lsq", "ste") == (8, 0, 0)
    assert found.by_interval("lsq", "ste") is None
