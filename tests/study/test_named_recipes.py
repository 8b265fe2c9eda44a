"""Named recipes: what they are, and how a study, its rows and its own settings share a training."""

from collections.abc import Callable
from typing import Any

import pytest

from qbench.errors import UsageError
from qbench.registry import quantizers
from qbench.study.expand import expand
from qbench.study.recipes import PAPER, recipes
from qbench.study.schema import Optimizer, Schedule, Study, Training

Make = Callable[..., Study]
ROWS: list[Any] = ["float", "ste", "daq"]


def trainings(make: Make, rows: list[Any] = ROWS, **changes: Any) -> dict[str, Training]:
    """Each row's recipe; a study's own settings are given only by a test that needs them."""
    study = make(quantizers=rows, models=["mlp"], bits=["W4A32"], **{"training": {}} | changes)
    return {cell.label: cell.trial.training for cell in expand(study).cells}


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_has_a_source_that_says_what_it_rests_on(name: str) -> None:
    recipe = recipes()[name]
    assert "(read)" in recipe.source or "recalled" in recipe.source
    assert recipe.settings
    if name.startswith(f"{PAPER}:"):
        assert name.removeprefix(f"{PAPER}:") in quantizers.entries()


def test_the_recipes_that_the_readme_of_studies_names_are_there() -> None:
    expected = {"cifar_200ep", "cifar_400ep", "imagenet_90ep", "paper:daq", "paper:metaquant"}
    assert expected <= recipes().keys()
    daq = recipes()["paper:daq"].training  # its published code: 400 epochs of 256, SGD 0.1, cosine
    assert (daq.epochs, daq.batch, daq.optimizer, daq.schedule) == (
        400, 256, Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4), Schedule(),
    )  # fmt: skip


def test_all_by_one_recipe(make_study: Make) -> None:
    found = trainings(make_study, recipe="cifar_400ep")
    assert set(map(repr, found.values())) == {repr(found["ste"])}
    assert found["ste"] == recipes()["cifar_400ep"].training


def test_what_the_study_writes_out_overrides_its_recipe(make_study: Make) -> None:
    changes = {"epochs": 3, "optimizer": {"learning_rate": 0.5}}
    found = trainings(make_study, recipe="cifar_164ep", training=changes)["ste"]
    whole = recipes()["cifar_164ep"].training
    optimizer = whole.optimizer.model_copy(update={"learning_rate": 0.5})
    assert found == whole.model_copy(update={"epochs": 3, "optimizer": optimizer})


def test_a_default_that_is_written_out_overrides_too(make_study: Make) -> None:
    """128 is the default batch, which this recipe has otherwise."""
    assert trainings(make_study, recipe="imagenet_90ep")["ste"].batch == 256
    assert (
        trainings(make_study, recipe="imagenet_90ep", training={"batch": 128})["ste"].batch == 128
    )


def test_each_by_its_own_paper(make_study: Make) -> None:
    rows = [{"name": "float", "recipe": "cifar_200ep"}, "daq", "lsq",
            {"name": "ste", "training": {"epochs": 9}}]  # fmt: skip
    found = trainings(make_study, rows, recipe="paper", training={"evaluation_batch": 50})
    assert {name: one.epochs for name, one in found.items()} == {
        "float": 200, "daq": 400, "lsq": 90, "ste": 9,
    }  # fmt: skip
    assert {one.evaluation_batch for one in found.values()} == {50}
    assert found["lsq"].batch == Training().batch  # which its recipe does not say


def test_a_row_takes_a_recipe_with_its_groups_whole(make_study: Make) -> None:
    study = {"epochs": 7, "schedule": {"name": "cosine", "warmup_epochs": 5}, "clip_gradient": 1.0}
    rows = ["float", {"name": "ste", "recipe": "paper:pact", "training": {"epochs": 4}}, "daq"]
    found = trainings(make_study, rows, training=study)
    assert found["ste"].schedule == recipes()["paper:pact"].training.schedule  # without a warm-up
    assert found["ste"].clip_gradient == 1.0  # which the recipe does not say
    assert found["ste"].epochs == 4
    assert found["daq"].epochs == 7


def test_a_recipe_is_no_part_of_a_trial(make_study: Make) -> None:
    """The same settings, written out, are the same trials."""
    rows = [{"name": "ste", "recipe": "cifar_200ep"}]
    named = expand(make_study(quantizers=rows, training={})).trials().keys()
    written = recipes()["cifar_200ep"].settings
    by_hand = expand(make_study(quantizers=["ste"], training=written)).trials().keys()
    of_study = expand(make_study(quantizers=["ste"], recipe="cifar_200ep", training={})).trials()
    assert named == by_hand == of_study.keys()


def test_an_id_is_what_it_has_always_been(make_study: Make) -> None:
    """Pinned from before recipes, components and seed offsets: results of earlier runs count."""
    study = make_study(quantizers=["float", "daq", "lsq"], models=["resnet8"], bits=["W2A2"],
                       seeds=[0], start="float")  # fmt: skip
    assert [cell.trial.id for cell in expand(study).cells] == PINNED


PINNED = ["507ae727b736", "fbb3e042b904", "b6d63189c611"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": "cifar_200"}, "recipe: there is no recipe 'cifar_200'; did you mean 'cifar"),
        ({"quantizers": [{"name": "ste", "recipe": "paper:stee"}]},
         "quantizers.0.recipe: there is no recipe 'paper:stee'"),
        ({"recipe": "paper", "quantizers": ["daq", "ste"]}, "quantizers.1: 'ste' has no recipe of "
         "its own paper; give the row a 'recipe:' such as cifar_200ep, or a 'training:'"),
        ({"quantizers": [{"name": "ste", "label": "x", "recipe": "paper"}]}, "'x' has no recipe"),
        ({"recipe": "paper", "quantizers": ["daq"], "start": "float"},
         "recipe: 'paper' has no recipe for the float networks that rows start from"),
        ({"recipe": "paper", "quantizers": ["float", "daq"]}, "'float' has no recipe of its own"),
        ({"recipe": "paper:gpfq", "quantizers": ["gpfq"]}, "'gpfq' starts from random weights"),
        ({"recipe": 1}, "recipe: write text in place of 1"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_is_a_sentence(
    make_study: Make, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        make_study(**{"training": {}, "bits": ["W4A32"]} | changes)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
