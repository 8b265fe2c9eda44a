"""DAQ: Kim, Lee, Ham, ICCV 2021; T1 to T11 are the numbered tests of the method's specification."""

import math

import pytest
import torch
from daq_reference import normal, on_grid, reference, rounded, slopes, uniform
from torch import Tensor, nn

from qbench.quantizers.daq import DAQ
from qbench.quantizers.ste import STE

BITS = range(1, 9)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_t1_the_controller_leaves_no_gap(gamma: float, sigma: float) -> None:
    for bits in (1, 2, 3, 4, 8):
        n = uniform(100_000, 2**bits - 1)
        some = n[:5000]  # the graph is 10 times as slow as the closed form
        soft = reference(some.double(), gamma, sigma)
        assert (soft - rounded(some)).abs().max() < 1e-11  # float64, levels from -9.5, up to 255
        made = on_grid(bits, gamma=gamma, activation_sigma=sigma)
        codes, codebook = made.codes(n)
        assert torch.equal(codes, rounded(n).long())
        assert torch.equal(made(n), codebook[codes])


@pytest.mark.parametrize("bits", BITS)
def test_t2_the_levels_are_those_of_the_grid(bits: int) -> None:
    steps = 2**bits - 1
    grid = torch.arange(steps + 1) / steps
    weight = torch.linspace(-1, 1, 40_000) ** 15  # to 5.6 deviations, and dense everywhere
    values = DAQ(bit_width=bits, target="weight")(weight).unique()
    assert values.shape == grid.shape
    assert torch.allclose(values, 2 * grid - 1, atol=1.2e-7)  # one rounding at 1
    assert values[0] == -1
    assert values[-1] == 1
    unsigned = on_grid(bits)(torch.linspace(0, steps, 20_000)).unique()
    assert unsigned.shape == grid.shape
    assert torch.allclose(unsigned, grid, atol=1.2e-7)
    assert unsigned[0] == 0
    assert unsigned[-1] == 1


@pytest.mark.parametrize(
    ("sigma", "expected"), [(1.0, [0.59665, 0.43410, 0.36203]), (2.0, [2.2172, 0.76940, 0.49715])]
)
def test_t3_the_slope_has_the_values_of_the_table(sigma: float, expected: list[float]) -> None:
    slope = slopes(torch.tensor([0.5 + 1e-6, 0.25, 0.0]), activation_sigma=sigma)
    assert slope.tolist() == pytest.approx(expected, rel=1e-4)  # the table has five digits
    n = torch.linspace(0.01, 0.49, 97, dtype=torch.float64)
    below, above = (slopes(m, activation_sigma=sigma) for m in (n, 1 - n))
    assert torch.allclose(below, above, rtol=1e-10)
    assert (below.diff() > 0).all()  # n rises toward the transition
    assert (below > 0).all()


@pytest.mark.parametrize(("gamma", "sigma"), [(2.0, 1.0), (2.0, 2.0), (0.1, 2.0), (4.0, 1.0)])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_t4_the_slope_is_that_of_the_controlled_graph(
    bits: int, gamma: float, sigma: float
) -> None:
    steps = 2**bits - 1
    n = torch.cat([uniform(5000, steps).double(), torch.arange(steps + 1.0).double()])
    graph = n.clone().requires_grad_()
    reference(graph, gamma, sigma).sum().backward()
    ours = slopes(n, bits, gamma=gamma, activation_sigma=sigma)
    assert torch.allclose(ours, graph.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_t4_all_gradients_are_those_of_the_controlled_graph(bits: int) -> None:
    steps, pull = 2**bits - 1, normal(500, seed=1).double()
    for target in ("weight", "activation"):
        made = DAQ(bit_width=bits, target=target).double()
        made.scale.requires_grad_().data.fill_(-0.7)
        made.upper.data.fill_(1.3)
        x = (normal(500).double() * 0.2 + 0.1) if target == "weight" else normal(500).double()
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        (made(ours) * pull).sum().backward()
        names = ["upper", "scale"] + (["lower"] if target == "weight" else [])
        own = {name: getattr(made, name).detach().clone().requires_grad_() for name in names}
        if target == "weight":
            y = (theirs - x.mean()) / x.std()
            n = (steps * (y - own["lower"]) / (own["upper"] - own["lower"])).clamp(0, steps)
            value = (2 * reference(n, 2.0, 1.0) - steps) / steps
        else:
            n = (steps * theirs / own["upper"]).clamp(0, steps)
            value = reference(n, 2.0, 2.0) / steps
        (own["scale"].abs() * value * pull).sum().backward()
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)
        for name in names:
            assert getattr(made, name).grad.item() == pytest.approx(own[name].grad.item(), rel=1e-6)


def test_t5_a_controller_within_the_graph_has_no_gradient_but_ours_has() -> None:
    n = (uniform(200, 3.0) + 0.001).double().clamp(max=2.999)
    attached = n.clone().requires_grad_()
    reference(attached, 2.0, 1.0, detach=False).sum().backward()
    assert attached.grad.abs().max() < 1e-12  # the output is constant between transitions
    assert slopes(n, 2).min() > 0.4  # G at a level is the least: 0.497 for sigma = 2


def test_t6_what_is_clipped_has_no_gradient_and_the_ends_are_inside() -> None:
    made = DAQ(bit_width=2, target="activation")
    made.upper.data.fill_(1.7)
    x = torch.tensor([-0.5, 1.7001, 9.0, 0.0, made.upper.item()], requires_grad=True)
    made(x[:3]).sum().backward()
    assert x.grad[:3].tolist() == [0, 0, 0]
    assert made.upper.grad.item() == 0
    made(x).sum().backward()
    assert x.grad[3:].tolist() == pytest.approx([0.49715 / 1.7] * 2, rel=1e-4)  # G(.5) / u
    weight = torch.tensor([-1.0, 1.0, *[0.0] * 30], requires_grad=True)  # 4 deviations away
    clipped = DAQ(bit_width=2, target="weight")
    clipped(weight)[:2].sum().backward()
    assert weight.grad.tolist() == [0.0] * 32
    assert clipped.upper.grad.item() == clipped.lower.grad.item() == 0


def test_t7_the_gradients_of_the_interval() -> None:
    other = (2.92 / 2) ** 0.5  # mean 0 and, with 2 * 0.2^2 + 2 * 1.46 = 3, deviation 1
    weight = torch.tensor([0.2, -0.2, other, -other], requires_grad=True)
    made = DAQ(bit_width=2, target="weight")
    made(weight)[0].backward()
    assert weight.grad[0].item() == pytest.approx(0.17113, abs=1e-5)
    assert made.upper.grad.item() == pytest.approx(-0.09127, abs=1e-5)
    assert made.lower.grad.item() == pytest.approx(-0.07986, abs=1e-5)
    total = weight.grad[0] + made.upper.grad + made.lower.grad
    assert abs(total.item()) < 1e-7  # a common shift changes nothing: zero to float32 rounding


@pytest.mark.parametrize("bits", BITS)
def test_t8_a_tie_goes_down_and_training_equals_deployment(bits: int) -> None:
    made = on_grid(bits)
    levels = torch.arange(made.steps)
    codes, codebook = made.codes(levels + 0.5)
    assert torch.equal(codes, levels)
    assert torch.equal(made(levels + 0.5), codebook[levels])
    weights, weight = DAQ(bit_width=bits, target="weight"), normal(100_000)
    assert torch.equal(weights(weight), weights.deployed(weight))


def test_t9_scaling_and_shifting_the_weights_changes_their_slope_only() -> None:
    results = []
    for a, b in ((1.0, 0.0), (3.7, -0.4)):
        made = DAQ(bit_width=3, target="weight").double()
        weight = (a * normal(1000).double() + b).requires_grad_()
        value = made(weight)
        value.sum().backward()
        results.append((value.detach(), weight.grad * a))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-9)  # float64


LAYERS = {
    "plain": lambda: nn.Conv2d(6, 8, 3),
    "strided": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=True),
    "groups": lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="reflect"),
    "linear": lambda: nn.Linear(9, 5),
}


@pytest.mark.parametrize("layer_name", LAYERS)
@pytest.mark.parametrize("bits", ["W1A1", "W4A4", "W2A32", "W32A2", "ste"])
def test_t10_the_start_keeps_the_mean_magnitude_of_the_output(layer_name: str, bits: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[layer_name]()
    x = normal(64, 6, 10, 9).relu()
    weight_bits, activation_bits = {
        "W1A1": (1, 1), "W4A4": (4, 4), "W2A32": (2, 32), "W32A2": (32, 2), "ste": (32, 2),
    }[bits]  # fmt: skip
    activations = DAQ(bit_width=activation_bits, target="activation")
    weights = DAQ(bit_width=weight_bits, target="weight")
    layer.activation_quantizer = activations if activation_bits < 32 else None
    layer.weight_quantizer = weights if weight_bits < 32 else None
    if bits == "ste":  # another method's weights, which have a scale of their own
        layer.weight_quantizer = STE(bit_width=2, target="weight")
    inputs, weight = x, layer.weight
    if activation_bits < 32:
        activations.initialize(x, layer, x)
        assert activations.upper.item() == pytest.approx(1.751, rel=0.02)  # 35,000 values
        assert activations.scale.requires_grad == (weight_bits == 32)
        inputs = activations(x)
    if weight_bits < 32:
        weights.initialize(layer.weight, layer, x)
        assert (weights.lower.item(), weights.upper.item()) == (-3, 3)
        weight = weights(layer.weight)
    ours, exact = (outputs(layer, *pair) for pair in ((inputs, weight), (x, layer.weight)))
    assert ours.abs().mean().item() == pytest.approx(exact.abs().mean().item(), rel=1e-5)


def outputs(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's output for other values, without its bias."""
    zero = {} if layer.bias is None else {"bias": torch.zeros_like(layer.bias)}
    return torch.func.functional_call(layer, {"weight": weight} | zero, (x,))


def test_t11_a_wide_kernel_is_stable_at_a_transition() -> None:
    n = torch.tensor([0.5 - 1e-6, 0.5, 0.5 + 1e-6, 0.1, 0.9])
    slope = slopes(n, activation_sigma=20.0)
    peak = 2 / (2 * math.sinh(2)) / math.tanh(1 / 800)  # gamma / (2 sinh gamma) coth(1 / 2 sigma^2)
    assert slope[1].item() == pytest.approx(peak, rel=1e-3)  # exp(1/400) - 1 in float32
    assert torch.isfinite(slope).all()
