"""The modes of a quantized layer: whose values its weight and its input take."""

from functools import partial

import pytest
import torch
from torch import nn

from qbench.models.convert import quantize
from qbench.models.layers import quantized_layers, set_mode
from qbench.quantizers.contract import Quantizer


class Marked(Quantizer):
    """Training values are 2 (weight) or 3 (input), deployed ones 5 or 7, whatever comes in."""

    def forward(self, x):
        return torch.full_like(x, 2.0 if self.target == "weight" else 3.0)

    def codes(self, x):
        value = 5.0 if self.target == "weight" else 7.0
        return torch.zeros_like(x, dtype=torch.long), torch.tensor([value])


@pytest.mark.parametrize("kind", [nn.Linear, partial(nn.Conv2d, kernel_size=1)])
@pytest.mark.parametrize(
    ("mode", "product"),
    [("training", 6), ("deployed", 35), ("deployed_weight", 15), ("deployed_activation", 14)],
)
def test_a_mode_says_whose_values_are_used(kind, mode, product):
    model = nn.Sequential(kind(1, 1, bias=False))
    quantize(
        model,
        weights=lambda: Marked(bit_width=1, target="weight"),
        activations=lambda: Marked(bit_width=1, target="activation"),
        keep_float=(),
    )
    assert list(quantized_layers(model)) == ["0"]
    set_mode(model, mode)
    assert model(torch.zeros(1, 1, 1, 1)).item() == product
