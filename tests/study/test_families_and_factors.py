"""Options of models as factors of a study, and members of families of quantizers as rows."""

from collections.abc import Callable

import pytest

from qbench.errors import UsageError
from qbench.reporting.compare import setting_of
from qbench.study.expand import expand
from qbench.study.schema import Study

Make = Callable[..., Study]


def model(**options: object) -> dict[str, object]:
    return {"name": "resnet8", "options": options}


def test_a_list_of_starts_is_a_factor_of_the_grid(make_study: Make) -> None:
    starts = [model(init=init) for init in ("own", "he_uniform", "xavier_normal")]
    plan = expand(make_study(models=starts, start="float"))
    settings = {setting_of(cell.trial).model for cell in plan.cells}
    assert settings == {"resnet8", "resnet8 (init=he_uniform)", "resnet8 (init=xavier_normal)"}
    assert len(plan.cells) == 3 * (2 * 2 * 2 + 2)  # starts x (quantizers x bits x seeds, and float)
    trials = plan.trials()
    for trial in trials.values():  # each goes on from a float network of its own start
        assert trial.needs is None or trials[trial.needs].model == trial.model


def test_defaults_move_no_trial(make_study: Make) -> None:
    plain = expand(make_study(models=["resnet8"])).trials().keys()
    options = {"init": "own", "init_scale": 1.0, "activation": "relu", "residual": "block"}
    assert expand(make_study(models=[model(**options)])).trials().keys() == plain


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"init": "he_normal", "init_scale": "big"}, "init_scale"),
        ({"init": "he_gaussian"}, "allowed: he_normal, he_uniform, own, xavier_normal"),
        ({"activation": "hard_tanh"}, "did you mean 'hardtanh'"),
        ({"residual": "layer"}, "allowed: block, convolution"),
    ],
)
def test_a_wrong_start_or_recipe_is_refused_before_anything_runs(
    make_study: Make, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_study(models=[model(**options)])


def test_a_member_of_a_family_of_quantizers_has_its_own_bits(make_study: Make) -> None:
    name, inputs = "brevitas/Int8WeightPerChannelFloat", "brevitas/Uint8ActPerTensorFloat"
    rows = [{"name": name, "activations": inputs}]
    plan = expand(make_study(quantizers=rows, bits=["W4A4"]))
    assert {cell.label for cell in plan.cells} == {f"{name} + {inputs}"}
    with pytest.raises(UsageError, match=r"cannot do 1-bit weights; it can do 2-8"):
        make_study(quantizers=rows, bits=["W1A4"])
    with pytest.raises(UsageError, match="has no answer for activations"):
        make_study(quantizers=[name], bits=["W4A4"])
    with pytest.raises(UsageError, match="did you mean 'torchao/int4_weight'"):
        make_study(quantizers=["torchao/int4_weights"], bits=["W4A4"])
    with pytest.raises(UsageError, match="is a family; name one of it, such as 'torchao/intx"):
        make_study(quantizers=["torchao/*"], bits=["W4A4"])
