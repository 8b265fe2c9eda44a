"""D2: exactly 0 for hard forwards, and the closed form of a soft one."""

import math

import pytest
import torch
from layer_networks import convolutions, measured, one_layer
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from qbench.quantizers.contract import Quantizer
from qbench.registry import quantizers

HARD = (("ste", 1), ("ste", 2), ("dorefa", 1), ("dorefa", 2), ("lsq", 2), ("daq", 1), ("daq", 2))


class SoftSign(Quantizer):
    """``tanh(beta x)`` in training, ``sign(x)`` deployed."""

    beta = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return (self.beta * x).tanh()

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x >= 0).long(), torch.tensor([-1.0, 1.0])


def values(model: torch.nn.Module) -> dict[tuple[str, str], float]:
    found = measured(model, ["train_deploy_gap"])
    rows = [(row.layer, row) for row in found.layers] + [("", row) for row in found.network]
    return {(layer, row.name.removeprefix("discretization/")): row.value for layer, row in rows}


@pytest.mark.parametrize(("name", "bits"), HARD)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_t14_hard_forwards_have_no_gap_at_all(
    name: str, bits: int, layout: torch.memory_format
) -> None:
    kind = quantizers.load(name)
    model = convolutions(
        lambda: kind(bit_width=bits, target="weight"),
        lambda: kind(bit_width=bits, target="activation"),
    ).to(memory_format=layout)
    for layer in (model[0], model[3], model[7]):
        quantizer = layer.weight_quantizer
        assert quantizer.trains_hard
        assert torch.equal(quantizer(layer.weight), quantizer.deployed(layer.weight))
    found = values(model)
    names = {name for _, name in found}
    assert names == {"train_deploy_gap", "activation_gap_local", "activation_gap"}  # no dB of 0
    assert set(found.values()) == {0.0}  # exactly


@pytest.mark.parametrize("beta", [2.0, 6.0])
def test_t5_a_soft_tanh_has_the_gap_of_the_closed_form(beta: float) -> None:
    class Soft(SoftSign):
        pass

    Soft.beta = beta
    model = one_layer(lambda: Soft(bit_width=1, target="weight"), inputs=400, outputs=400)
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(model[0].weight, generator=generator)
    expected = 2 * quad(lambda x: (math.tanh(beta * x) - 1) ** 2 * norm.pdf(x), 0, math.inf)[0]
    found = values(model)
    assert found["0", "train_deploy_gap"] == pytest.approx(expected, rel=0.01)  # T5
    decibel = 10 * math.log10(found["0", "train_deploy_gap"])
    assert found["0", "train_deploy_gap_db"] == pytest.approx(decibel)


def test_the_gap_of_inputs_grows_on_its_way() -> None:
    model = convolutions(
        lambda: SoftSign(bit_width=1, target="weight"),
        lambda: SoftSign(bit_width=1, target="activation"),
    )
    found = values(model)
    # The first layer gets the images themselves: nothing has propagated yet.
    assert found["0", "activation_gap"] == found["0", "activation_gap_local"] > 0
    for layer in ("3", "7"):
        assert found[layer, "activation_gap"] > found[layer, "activation_gap_local"] > 0


def test_float_weights_leave_the_gap_of_activations() -> None:
    found = values(convolutions(None, lambda: SoftSign(bit_width=1, target="activation")))
    assert not any(name.startswith("train_deploy_gap") for _, name in found)
    assert found["7", "activation_gap"] > 0


def test_the_networks_decibels_are_those_of_its_mean() -> None:
    class Half(SoftSign):
        """Hard wherever a weight is small enough: layers differ."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.numel() > 700 else self.deployed(x)

    found = values(convolutions(lambda: Half(bit_width=1, target="weight"), None))
    gaps = [found[layer, "train_deploy_gap"] for layer in ("0", "3", "7")]
    assert gaps.count(0.0) == 2
    mean = sum(gaps) / 3
    assert found["", "train_deploy_gap_db"] == pytest.approx(10 * math.log10(mean))
    assert ("0", "train_deploy_gap_db") not in found
