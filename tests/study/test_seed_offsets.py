"""A row with other seeds: it stands at the study's seeds, and trains with its own."""

from collections.abc import Callable
from typing import Any

import pytest

from qbench.errors import UsageError
from qbench.study.expand import expand
from qbench.study.schema import Study
from qbench.study.select import select

Make = Callable[..., Study]
AGAIN = {"name": "ste", "label": "ste, again", "seed_offset": 1000}


def planned(make: Make, rows: list[Any], **changes: Any):
    return expand(make(quantizers=rows, models=["mlp"], bits=["W4A32"], **changes))


def test_it_trains_with_its_seeds_and_stands_at_the_studys(make_study: Make) -> None:
    plan = planned(make_study, ["float", "ste", AGAIN])
    seeds = [(cell.label, cell.seed, cell.trial.seed) for cell in plan.cells if not cell.is_float]
    assert seeds == [("ste", 0, 0), ("ste", 1, 1), ("ste, again", 0, 1000), ("ste, again", 1, 1001)]
    first, *_, last = [cell.trial for cell in plan.cells if not cell.is_float]
    assert first.model_copy(update={"seed": last.seed}) == last  # nothing else differs


def test_it_starts_from_the_float_network_of_its_own_seed(make_study: Make) -> None:
    plan = planned(make_study, ["float", "ste", AGAIN], start="float")
    trials = plan.trials()
    for cell in plan.cells:
        if not cell.is_float:
            assert trials[str(cell.trial.needs)].seed == cell.trial.seed
    assert sorted(trial.seed for trial in plan.needed) == [1000, 1001]


def test_equal_trials_are_one(make_study: Make) -> None:
    """Seed 1 of one row is seed 0 of the other; a row that differs shares nothing."""
    shifted = AGAIN | {"seed_offset": 1}
    plan = planned(make_study, ["float", "ste", shifted], start="float")
    assert len({cell.trial.name for cell in plan.cells if not cell.is_float}) == 3
    other = shifted | {"options": {"weight_backward": "clipped"}}
    plan = planned(make_study, ["float", "ste", other], start="float")
    assert len({cell.trial.name for cell in plan.cells if not cell.is_float}) == 4


def test_conditions_see_the_studys_seed(make_study: Make) -> None:
    part = select(planned(make_study, ["float", "ste", AGAIN]), "seed == 0")
    assert [cell.label for cell in part.cells] == ["float", "ste", "ste, again"]


def test_ablations_of_it_have_its_seeds(make_study: Make) -> None:
    ablation = {"quantizer": "ste, again", "vary": {"options.weight_backward": ["clipped"]}}
    plan = planned(make_study, ["ste", AGAIN], ablations=[ablation])
    assert {(c.seed, c.trial.seed) for c in plan.cells if c.ablation} == {(0, 1000), (1, 1001)}


def test_a_row_may_be_rounded_without_training_where_others_train(make_study: Make) -> None:
    rounded = {"name": "ste", "label": "ste, rounded only", "training": {"epochs": 0}}
    plan = planned(make_study, ["float", "ste", rounded], start="float")
    epochs = {cell.label: cell.trial.training.epochs for cell in plan.cells}
    assert epochs == {"float": 2, "ste": 2, "ste, rounded only": 0}


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        (2**32 - 1, "quantizers.1.seed_offset: 4294967295 is too large; the largest seed of the "
         "study plus it must stay below 4294967296"),
        (-1, "quantizers.1.seed_offset: -1 is not allowed; write at least 0"),
        (0, "two rows have the label 'ste'"),
    ],
)  # fmt: skip
def test_an_offset_that_cannot_be_is_a_sentence(make_study: Make, offset: int, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        planned(make_study, ["ste", {"name": "ste", "seed_offset": offset}])
    assert says in str(refused.value)
