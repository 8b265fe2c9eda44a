"""Thresholds to the last bit, whatever a method computes; what is no staircase is told apart."""

import pytest
import torch
from small_networks import METHODS

from qbench.deployment.staircase import staircase
from qbench.quantizers.contract import Quantizer, decode
from qbench.registry import quantizers

CASES = [
    (name, bits)
    for name, entry in METHODS.items()
    for bits in entry.facts["bits"].get("activation", ())
    if bits in (1, 2, 3, 8)  # 4 to 7 are no other case
]
WHOLE = {"siman"}  # standardises each image before it takes signs


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_every_method_is_its_thresholds_and_levels(name: str, bits: int) -> None:
    kind = quantizers.load(name)
    quantizer = kind(bit_width=bits, target="activation")
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    x = x if kind.signed_inputs else x.relu()
    layer = torch.nn.Conv2d(3, 4, 3)
    layer.weight_quantizer, layer.activation_quantizer = None, quantizer
    with torch.no_grad():
        quantizer.initialize(x, layer, x)
    found = staircase(quantizer, x)
    if name in WHOLE:
        assert found is None
        return
    other = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2
    codes, codebook = quantizer.codes(other)
    assert torch.equal(found.codes(other), codes)
    assert torch.equal(decode(codes, found.codebook, 1), decode(codes, codebook, 1))


class Edges(Quantizer):
    """Three levels with known thresholds, those of the second channel moved."""

    levels = 3

    def forward(self, x):
        return decode(*self.codes(x))

    def codes(self, x):
        shift = torch.tensor([0.0, 0.5]).view(-1, *[1] * (x.ndim - 2))
        codes = (x >= shift).long() + (x > 1 + shift).long()
        return codes, torch.tensor([0.0, 1.0, 5.0])


@pytest.mark.parametrize("shape", [(6, 2, 4, 4), (6, 2)])
def test_thresholds_are_exact_in_each_channel(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = staircase(Edges(bit_width=2, target="activation"), x)
    above = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    half = torch.nextafter(torch.tensor(1.5), torch.tensor(2.0))
    expected = torch.tensor([[-0.0, above], [0.5, half]])  # x > 1 begins at the next float
    assert torch.equal(found.thresholds, expected)


class Unused(Edges):
    """Takes the middle level alone."""

    def codes(self, x):
        return torch.ones_like(x).long(), torch.tensor([0.0, 1.0, 5.0])


def test_codes_that_are_never_taken_have_infinite_thresholds() -> None:
    found = staircase(Unused(bit_width=2, target="activation"), torch.randn(2, 2, 3, 3))
    assert found.thresholds.tolist() == [[-torch.inf, torch.inf]]


class Normalised(Edges):
    """Divides by what the whole batch says."""

    def codes(self, x):
        return super().codes(x / x.std())


class Falling(Edges):
    def codes(self, x):
        codes, codebook = super().codes(x)
        return 2 - codes, codebook


class Moving(Edges):
    def codes(self, x):
        codes, codebook = super().codes(x)
        return codes, codebook * x.mean()


@pytest.mark.parametrize("kind", [Normalised, Falling, Moving])
def test_what_is_no_staircase_of_an_element_is_told_apart(kind: type[Quantizer]) -> None:
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    assert staircase(kind(bit_width=2, target="activation"), x) is None
