"""EWGS: Lee, Kim, Ham 2021, equations 1 to 5 with a fixed delta."""

import math

import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.ewgs import EWGS
from qbench.quantizers.ste import STE


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(bits: int, delta: float) -> EWGS:
    """Of activations in [0, 1], with scale 1."""
    made = EWGS(bit_width=bits, target="activation", activation_delta=delta)
    made.lower.data.zero_()
    made.upper.data.fill_(1.0)
    return made


def test_the_worked_example() -> None:
    """[X] delta = 0.5, g = 1: 0.30 to 0 gives 1.15, 0.70 to 1 gives 0.85."""
    x = torch.tensor([0.30, 0.70], requires_grad=True)
    value = unit(1, 0.5)(x)
    assert value.tolist() == [0, 1]
    value.sum().backward()
    assert x.grad.tolist() == pytest.approx([1.15, 0.85])


def reference(x: Tensor, g: Tensor, made: EWGS) -> Tensor:
    """Gradient toward x of sum(g r): equation 5 and the chain rule, element by element."""
    found, steps, delta = [], made.steps, made.delta
    lower, upper = made.lower, made.upper
    for value, incoming in zip(x.tolist(), g.tolist(), strict=True):
        n = (value - lower.item()) / (upper.item() - lower.item())
        if not 0 <= n <= 1:
            found.append(0.0)
            continue
        r = math.floor(steps * n + 0.5) / steps
        scaled = incoming * (1 + delta * math.copysign(1, incoming) * (n - r))
        found.append(scaled / (upper.item() - lower.item()))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_it_equals_the_equation_element_by_element(bits: int) -> None:
    x, g = normal(300).double(), normal(300, seed=1).double()
    made = EWGS(bit_width=bits, target="weight", weight_delta=0.7).double()
    made.lower.data.fill_(-1.3)
    made.upper.data.fill_(0.9)
    ours = x.clone().requires_grad_()
    (made(ours) * g / 2).sum().backward()  # q = 2 r - 1 at scale 1
    expected = reference(x, g, made)
    assert torch.allclose(ours.grad, expected, atol=1e-6)


def test_the_interval_and_the_scale_get_the_exact_gradient() -> None:
    """With delta = 0: plain autograd of the straight-through formula."""
    x, g = normal(300).double(), normal(300, seed=1).double()
    made = EWGS(bit_width=3, target="weight", weight_delta=0.0).double()
    for parameter, value in zip(made.parameters(), (-1.25, 0.75, 1.5), strict=True):
        parameter.data.fill_(value)
    (made(x) * g).sum().backward()
    lower, upper, scale = (torch.tensor(v).double().requires_grad_() for v in (-1.25, 0.75, 1.5))
    n = ((x - lower) / (upper - lower)).clamp(0, 1)
    r = n + (torch.floor(7 * n + 0.5) / 7 - n).detach()
    (scale * (2 * r - 1) * g).sum().backward()
    for name, theirs in {"lower": lower, "upper": upper, "scale": scale}.items():
        assert torch.allclose(made.get_parameter(name).grad, theirs.grad, atol=1e-9)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_without_delta_it_is_the_clipped_straight_through_estimator(bits: int) -> None:
    """[X] Section 3.5: EWGS(delta = 0) = STE inside the clip."""
    x, g = normal(64, 8).relu(), normal(64, 8, seed=1)
    ste = STE(bit_width=bits, target="activation")
    ste.initialize(x, nn.Identity(), x)
    made = unit(bits, 0.0)
    made.upper.data.copy_(ste.high)
    made.scale.data.copy_(ste.high)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for quantizer, own in zip((made, ste), inputs, strict=True):
        value = quantizer(own)
        (value * g).sum().backward()
    assert torch.allclose(made(x), ste(x), atol=1e-6)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 3])
def test_no_gradient_changes_its_sign(bits: int) -> None:
    most = 2 * (2**bits - 1)
    x, g = torch.rand(5000, generator=torch.Generator().manual_seed(0)), normal(5000, seed=1)
    own = x.clone().requires_grad_()
    (unit(bits, 0.99 * most)(own) * g).sum().backward()
    assert (own.grad.sign() == g.sign()).all()
    with pytest.raises(UsageError, match="change their sign"):
        unit(bits, 1.01 * most)


def test_the_start() -> None:
    layer = nn.Linear(32, 16)
    x = normal(64, 32).relu()
    layer.activation_quantizer = EWGS(bit_width=4, target="activation")
    layer.weight_quantizer = EWGS(bit_width=4, target="weight")
    with torch.no_grad():
        layer.activation_quantizer.initialize(x, layer, x)
        layer.weight_quantizer.initialize(layer.weight, layer, x)
    inputs, weights = layer.activation_quantizer, layer.weight_quantizer
    assert inputs.lower == 0
    assert inputs.upper.item() == pytest.approx(3 * x.std().item() / (1 - 2 / math.pi) ** 0.5)
    assert weights.upper.item() == pytest.approx(3 * layer.weight.std().item(), rel=1e-4)
    assert weights.lower == -weights.upper
    exact = nn.functional.linear(x, layer.weight).abs().mean()
    rounded = nn.functional.linear(inputs(x), weights(layer.weight)).abs().mean()
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-4)  # what the scale is for
    assert not inputs.scale.requires_grad  # the weight's scale is the layer's


def test_signed_inputs_are_rounded_as_weights_are() -> None:
    layer, x = nn.Linear(8, 4), normal(128, 8)
    made = EWGS(bit_width=2, target="activation")
    with torch.no_grad():
        made.initialize(x, layer, x)
    assert made.lower == -made.upper
    assert made.scale.requires_grad  # nothing else scales a float weight's layer
    assert torch.allclose(made.codes(x)[1], made.scale * torch.tensor([-1, -1 / 3, 1 / 3, 1]))
