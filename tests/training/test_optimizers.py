"""What the recipe says is what the optimizers do."""

import math

import pytest
import torch
from torch import Tensor, nn

from qbench.models.convert import quantize
from qbench.quantizers.contract import ParameterGroup, Quantizer
from qbench.quantizers.lsq import LSQ
from qbench.study.schema import Optimizer, Schedule, Training
from qbench.training.optimizers import make_optimizers, rate_factor, set_learning_rates


class Own(Quantizer):
    """A method that moves its weight itself, and asks for Adam without a schedule."""

    owns_update = True

    def __init__(self) -> None:
        super().__init__(bit_width=1, target="weight")
        self.own = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.own.sum()

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x >= 0).long(), torch.tensor([-1.0, 1.0])

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup((self.own,), optimizer="adam", learning_rate=0.5, scheduled=False)]


def network(quantizer: type[Quantizer]) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    make = Own if quantizer is Own else lambda: LSQ(bit_width=4, target="weight")
    quantize(model, weights=make, activations=None, keep_float=())
    return model


def test_weight_decay_reaches_weights_and_what_a_quantizer_says() -> None:
    model = network(LSQ)
    (optimizer,) = make_optimizers(model, Training(optimizer=Optimizer(weight_decay=0.25)))
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decays) == sum(1 for _ in model.parameters()), "each parameter once"
    for name, parameter in model.named_parameters():
        decayed = name.endswith(".weight") and parameter.ndim > 1 or name.endswith(".step")
        assert decays[id(parameter)] == (0.25 if decayed else 0.0), name


def test_a_method_that_owns_its_update_takes_the_weight_away() -> None:
    model = network(Own)
    recipe, own = make_optimizers(model, Training())
    moved = {id(p) for o in (recipe, own) for g in o.param_groups for p in g["params"]}
    assert id(model[0].weight) not in moved
    assert id(model[0].bias) in moved
    assert isinstance(own, torch.optim.Adam)
    set_learning_rates([recipe, own], 0.1)
    assert {group["lr"] for group in own.param_groups} == {0.5}
    assert [group["lr"] for group in recipe.param_groups] == [pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(name="constant"), {0: 1.0, 5: 1.0, 10: 1.0}),
        (Schedule(name="cosine"), {0: 1.0, 5: 0.5, 2.5: (1 + math.sqrt(0.5)) / 2, 10: 0.0}),
        (Schedule(name="linear"), {0: 1.0, 5: 0.5, 10: 0.0}),
        (Schedule(name="step", milestones=(4, 8)), {3.9: 1.0, 4: 0.1, 8: 0.01, 10: 0.01}),
        (Schedule(name="linear", warmup_epochs=2), {0: 0.0, 1: 0.5, 2: 1.0, 6: 0.5, 10: 0.0}),
    ],
)
def test_the_schedules(schedule: Schedule, expected: dict[float, float]) -> None:
    for epoch, factor in expected.items():
        assert rate_factor(schedule, epoch, 10) == pytest.approx(factor, abs=1e-12)
