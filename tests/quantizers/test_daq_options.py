"""DAQ beyond the paper's own setting: signed inputs, guards, the soft quantizer, its memory."""

import math

import pytest
import torch
from daq_reference import normal, on_grid, reference, uniform
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.daq import DAQ


@pytest.mark.parametrize("bits", range(1, 9))
def test_inputs_with_a_sign_have_levels_from_minus_one_to_one(bits: int) -> None:
    layer = nn.Linear(50, 4)
    layer.weight_quantizer = DAQ(bit_width=2, target="weight")
    x = normal(40, 50)
    made = DAQ(bit_width=bits, target="activation")
    made.initialize(x, layer, x)
    assert made.upper.item() == pytest.approx(3 * x.std().item(), rel=1e-5)
    codes, codebook = made.codes(x * 3)
    assert codebook[[0, -1]].tolist() == [-1, 1]
    assert torch.allclose(codebook, -codebook.flip(0))
    assert torch.equal(made(x * 3), codebook[codes])
    loaded = DAQ(bit_width=bits, target="activation")  # as a deployed network is: never initialized
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(loaded.deployed(x), made.deployed(x))


def test_the_gradients_of_a_signed_interval_are_those_of_the_graph() -> None:
    made = DAQ(bit_width=3, target="activation")
    layer = nn.Linear(50, 4)
    layer.weight_quantizer = DAQ(bit_width=3, target="weight")
    made.initialize(normal(40, 50), layer, normal(40, 50))
    made = made.double()
    x, pull = normal(300).double() * 2, normal(300, seed=2).double()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (made(ours) * pull).sum().backward()
    upper = made.upper.detach().clone().requires_grad_()
    n = (7 * (theirs + upper) / (2 * upper)).clamp(0, 7)
    ((2 * reference(n, 2.0, 2.0) - 7) / 7 * pull).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)
    assert made.upper.grad.item() == pytest.approx(upper.grad.item(), rel=1e-6)


@pytest.mark.parametrize(("lower", "upper", "scale"), [(1, 1, 1), (2, -2, 0), (-3, 3, -0.5)])
@pytest.mark.parametrize("rounding", ["controlled", "soft", "soft_no_kernel"])
def test_collapsed_intervals_and_scales_are_guarded(
    lower: float, upper: float, scale: float, rounding: str
) -> None:
    for target in ("weight", "activation"):
        made = DAQ(bit_width=2, target=target, rounding=rounding)
        made.upper.data.fill_(upper)
        made.scale.requires_grad_().data.fill_(scale)
        if target == "weight":
            made.lower.data.fill_(lower)
        x = normal(100).requires_grad_()
        made(x).square().sum().backward()
        for part in (made(x), made.deployed(x), x.grad, *(p.grad for p in made.parameters())):
            assert torch.isfinite(part).all()
        assert (made.codes(x)[1].diff() > 0).all()  # a negative scale does not turn the grid round


@pytest.mark.parametrize("value", [0.0, 0.3, 1e-9])
def test_a_constant_first_batch_gives_a_usable_start(value: float) -> None:
    x = torch.full((5, 4), value)
    layer = nn.Linear(4, 3)
    layer.activation_quantizer = DAQ(bit_width=2, target="activation")
    layer.weight_quantizer = DAQ(bit_width=2, target="weight")
    layer.activation_quantizer.initialize(x, layer, x)
    layer.weight_quantizer.initialize(layer.weight, layer, x)
    for quantizer in (layer.activation_quantizer, layer.weight_quantizer):
        for parameter in quantizer.parameters():
            assert torch.isfinite(parameter).all()
        assert quantizer.scale.item() > 0
    assert 1e-6 < layer.activation_quantizer.upper.item() <= 1


@pytest.mark.parametrize("rounding", ["soft", "soft_no_kernel"])
@pytest.mark.parametrize("temperature", [2.0, 32.0])
def test_the_soft_quantizer_is_the_soft_arg_max_at_a_fixed_temperature(
    rounding: str, temperature: float
) -> None:
    made = DAQ(bit_width=2, target="activation", rounding=rounding, temperature=temperature)
    made = made.double()
    x = uniform(1000, 2.999).double().requires_grad_()
    soft = made(x)
    soft.sum().backward()
    again = x.detach().clone().requires_grad_()
    distance = (again.unsqueeze(-1) - torch.arange(4.0)).abs()  # u is 3: x lies on the grid 0 … 3
    pair = distance.detach().argsort(-1)[:, :2]  # the two neighbouring levels, the nearest first
    farther = math.exp(-1 / 4) if rounding == "soft" else 1.0  # sigma = 2
    kernel = torch.tensor([1.0, farther], dtype=torch.float64)
    share = torch.softmax(temperature * kernel * torch.exp(-distance.gather(-1, pair)), -1)
    expected = (share * pair).sum(-1) / 3
    expected.sum().backward()
    assert torch.allclose(soft, expected, atol=1e-7)  # where() takes the kernel in float32
    assert torch.allclose(x.grad, again.grad, rtol=1e-5, atol=1e-9)
    assert torch.equal(made.deployed(x), on_grid(2).double().deployed(x))
    assert not made.trains_hard
    assert not made.exact_at_end
    assert (soft - made.deployed(x)).abs().max() > 1e-3  # the gap: values near a transition


def test_the_soft_quantizer_is_within_the_interval_also_at_its_end() -> None:
    made = DAQ(bit_width=2, target="weight", rounding="soft", temperature=1.0)
    weight = torch.linspace(-1, 1, 1001) ** 15  # to 5.6 deviations: the outermost are clipped
    assert made(weight).abs().max() < 1  # so soft that no value reaches the end


def test_an_activation_keeps_its_input_and_nothing_else_of_its_size() -> None:
    """The controlled graph keeps 72 bytes an element, this one the 4 of the input."""
    made, kept = DAQ(bit_width=4, target="activation"), []
    x = uniform(1000, 3.0).requires_grad_()

    def keep(part: Tensor) -> Tensor:
        kept.append(part)
        return part

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
        made(x)
    large = [part for part in kept if part.numel() == x.numel()]
    assert [part.data_ptr() for part in large] == [x.data_ptr()]


def test_ends_and_scale_have_their_own_adam() -> None:
    made = DAQ(bit_width=2, target="weight")
    (group,) = made.parameter_groups()
    assert {id(p) for p in group.parameters} == {id(made.lower), id(made.upper), id(made.scale)}
    assert (group.optimizer, group.learning_rate, group.weight_decay) == ("adam", 1e-4, 0.0)
    assert group.scheduled


@pytest.mark.parametrize("option", ["gamma", "weight_sigma", "temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e9, math.nan])
def test_an_option_out_of_range_is_refused(option: str, value: float) -> None:
    with pytest.raises(UsageError, match="out of range; choose a value from"):
        DAQ(bit_width=2, target="weight", **{option: value})
