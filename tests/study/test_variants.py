"""``without`` in ablations: rows that leave a component of their method out."""

from collections.abc import Callable
from typing import Any

import pytest

from qbench.errors import UsageError
from qbench.study.expand import expand
from qbench.study.plan import Cell
from qbench.study.schema import Study

Make = Callable[..., Study]
ROWS: list[Any] = ["float", "ste", "daq"]
PARTS = ["controller", "output_scale"]


def ablated(make: Make, *, rows: list[Any] = ROWS, **ablation: Any) -> dict[str, Cell]:
    ablation = {"quantizer": "daq"} | ablation
    study = make(quantizers=rows, models=["mlp"], bits=["W4A32"], ablations=[ablation])
    return {cell.label: cell for cell in expand(study).cells if cell.ablation}


def test_each_component_is_left_out_in_a_row(make_study: Make) -> None:
    found = ablated(make_study, without=PARTS)
    assert {label: cell.ablation for label, cell in found.items()} == {
        "daq [without controller]": "without controller",
        "daq [without output_scale]": "without output_scale",
    }
    options = [cell.trial.quantizer.options for cell in found.values()]
    assert options == [{"rounding": "soft"}, {"output_scale": False}]


def test_crossed_components_make_every_combination(make_study: Make) -> None:
    found = ablated(make_study, without=PARTS, vary={"options.gamma": [2.0, 4.0]}, cross=True)
    # {nothing, one, the other, both} x {2, 4}, without the row's own
    assert [cell.ablation.partition("2.0, ")[2] or cell.ablation for cell in found.values()] == [
        "without output_scale", "without controller", "without controller and output_scale",
        "options.gamma=4.0", "options.gamma=4.0, without output_scale",
        "options.gamma=4.0, without controller",
        "options.gamma=4.0, without controller and output_scale",
    ]  # fmt: skip
    both = found["daq [gamma=4.0, without controller and output_scale]"].trial.quantizer.options
    assert both == {"gamma": 4.0, "rounding": "soft", "output_scale": False}


def test_values_and_components_stand_beside_each_other(make_study: Make) -> None:
    found = ablated(make_study, without=["kernel"], vary={"options.gamma": [4.0]})
    assert list(found) == ["daq [gamma=4.0]", "daq [without kernel]"]
    assert len({cell.trial.id for cell in found.values()}) == 2


def test_a_component_is_left_out_of_what_the_row_changes(make_study: Make) -> None:
    row = {"name": "daq", "label": "mine", "options": {"gamma": 4.0}, "training": {"epochs": 3}}
    rows = ["float", row]
    (cell,) = ablated(make_study, rows=rows, quantizer="mine", without=["kernel"]).values()
    assert cell.label == "mine [without kernel]"
    assert cell.trial.quantizer.options["gamma"] == 4.0
    assert cell.trial.training.epochs == 3


@pytest.mark.parametrize(
    ("ablation", "says"),
    [
        ({"without": ["controler"]}, "ablations.0.without.0: there is no component of 'daq' "
         "'controler'; did you mean 'controller'? allowed: controller, kernel, output_scale"),
        ({"quantizer": "ste", "without": ["scale"]}, "ablations.0.without: 'ste' declares no "
         "components; change its options with 'vary'"),
        ({}, "ablations.0: it changes nothing; give 'vary' a key with values, or 'without'"),
        ({"without": ["kernel", "kernel"]}, "two rows have the label 'daq [without kernel]'"),
        ({"without": ["controller"], "vary": {"options.rounding": ["soft_no_kernel"]},
          "cross": True}, "set options.rounding to"),
        ({"without": "kernel"}, "write a list in place of 'kernel'"),
    ],
)  # fmt: skip
def test_what_cannot_be_left_out_is_a_sentence(
    make_study: Make, ablation: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        ablated(make_study, **ablation)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_not_there_cannot_be_left_out(make_study: Make) -> None:
    rows = ["float", {"name": "daq", "label": "fixed", "options": {"rounding": "soft"}}]
    with pytest.raises(UsageError, match="'fixed' has no 'controller'; leave it out of 'without'"):
        ablated(make_study, rows=rows, quantizer="fixed", without=["controller"])
