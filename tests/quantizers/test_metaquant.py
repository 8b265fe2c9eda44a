"""MetaQuant: the numbered behavioural tests of its page, MQ1 to MQ13."""

import pytest
import torch
from metaquant_toy import batches, meta_of, network, run
from torch import Tensor, nn

from qbench.deployment.freeze import freeze
from qbench.deployment.load import load_deployed
from qbench.models.layers import quantized_layers
from qbench.quantizers.meta_bases import Base, make_base
from qbench.quantizers.meta_networks import CollapsedTrace, FullTrace, MetaNetwork
from qbench.quantizers.meta_steps import MetaStep, Refinement
from qbench.quantizers.metaquant import MetaQuant

WEIGHT = torch.tensor([-1.0, -0.2, 0.0, 0.3, 0.5], dtype=torch.float64)  # of MQ1


def meta(kind: str = "fcgrad", *, activation: str = "none", depth: int = 2) -> MetaNetwork:
    torch.manual_seed(0)
    return MetaNetwork(kind, 100, depth, activation, "default").double()


def values(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quantizers(model: nn.Module) -> list[MetaQuant]:
    return [layer.weight_quantizer for layer in quantized_layers(model).values()]


def test_mq1_dorefa_forward() -> None:
    unit, cal = make_base("dorefa", 1).prepare(WEIGHT)
    expected = torch.tensor([0, 0.370420, 0.5, 0.691252, 0.803388]).double()
    torch.testing.assert_close(unit, expected, rtol=0, atol=1e-6)  # the page gives 6 digits
    expected = torch.tensor([0.551441, 1.261883, 1.313035, 1.201607, 1.032634]).double()
    torch.testing.assert_close(cal, expected, rtol=0, atol=1e-6)
    third = 1 / 3
    for bits, levels in ((1, [-1, -1, 1, 1, 1]), (2, [-1, -third, third, third, third])):
        value = make_base("dorefa", bits).value(WEIGHT)  # the tie at 0 goes up, as in the paper
        torch.testing.assert_close(value, torch.tensor(levels).double())
        assert len(make_base("dorefa", bits).value(values(1000)).unique()) == 2**bits


def test_mq2_bwn_forward() -> None:
    weight = torch.tensor([[-0.3, 0.1, 0.2, -0.4, 0.0]])
    value = make_base("bwn", 1).value(weight)
    torch.testing.assert_close(value, torch.tensor([[-0.2, 0.2, 0.2, -0.2, 0.2]]))
    kernels = torch.tensor([0.1, -0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    torch.testing.assert_close(make_base("bwn_filter", 1).value(kernels), kernels)
    assert make_base("bwn_filter", 1).value(kernels[:, :, 0, 0]).unique().numel() == 2  # one scale


def test_mq3_slope_one_is_the_straight_through_estimator() -> None:
    model = network(2, c=1.0, refinement="sgd")
    before = [layer.weight.detach().clone() for layer in quantized_layers(model).values()]
    (x, y), rate = batches(1)[0], 0.05
    list(run(model, [(x, y)], [rate], gamma=None))
    leaves = [weight.clone().requires_grad_() for weight in before]
    hats = []
    for weight in leaves:
        soft = weight.tanh() / weight.detach().tanh().abs().max()  # 2 u - 1, the maximum constant
        hats.append(soft + (make_base("dorefa", 2).value(weight.detach()) - soft).detach())
    nn.functional.cross_entropy((x @ hats[0].T).relu() @ hats[1].T, y).backward()
    for leaf, layer in zip(leaves, quantized_layers(model).values(), strict=True):
        torch.testing.assert_close(layer.weight, leaf - rate * leaf.grad, rtol=0, atol=1e-12)


def test_mq3_bwn_differs_from_it_by_the_mean() -> None:
    weight, gradient = 0.5 * values(50), values(50, seed=1)
    base = make_base("bwn", 1)
    straight = base.straight_through(gradient, weight, base.prepare(weight)[1])
    inside = weight.abs() <= 1
    ratio = weight.abs().mean() * inside
    torch.testing.assert_close(straight, gradient * ratio, rtol=1e-6, atol=0)
    assert 0 < inside.sum() < 50


def test_mq4_the_first_step_trains_no_phi() -> None:
    """Moved to the end of the step, the paper's "no update of W at t = 0" is W's at the forward of
    t = 1: the first two forwards see W_0 and W_1, and phi learns from the second loss on."""
    model = network()
    adam = torch.optim.Adam(meta_of(model).parameters())
    start = [layer.weight.detach().clone() for layer in quantized_layers(model).values()]
    phi = [parameter.detach().clone() for parameter in meta_of(model).parameters()]
    data = batches(2)
    ((points, after, _),) = run(model, data[:1], [0.05], adam=adam)
    assert all(torch.equal(a, b) for a, b in zip(points + after, start + phi, strict=True))
    assert all(parameter.grad is None for parameter in meta_of(model).parameters())
    assert not adam.state  # its step count is still 0
    ((points, after, _),) = run(model, data[1:], [0.05], start=1, adam=adam)
    assert not any(torch.equal(a, b) for a, b in zip(points + after, start + phi, strict=True))
    assert all(parameter.grad.norm() > 0 for parameter in meta_of(model).parameters())


@pytest.mark.parametrize("order", ["paper", "released"])
def test_mq5_the_forward_uses_the_committed_weight(order: str) -> None:
    model = network(order=order)
    committed = [layer.weight.detach().clone() for layer in quantized_layers(model).values()]
    same = []
    for points, _, _ in run(model, batches(5), [0.05] * 5):
        same.append(all(torch.equal(a, b) for a, b in zip(points, committed, strict=True)))
        committed = [layer.weight.detach().clone() for layer in quantized_layers(model).values()]
    assert same == ([True] * 5 if order == "paper" else [True] + [False] * 4)


def test_mq6_phi_gradient_in_closed_form() -> None:
    data, rate = batches(3), 0.05
    model = network(refinement="sgd")
    layers = quantized_layers(model)
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(_: nn.Module, args: tuple[Tensor], value: Tensor) -> None:
        weight = args[0].detach().clone()
        value.register_hook(lambda gradient: seen.append((weight, gradient)))

    for layer in layers.values():
        layer.weight_quantizer.register_forward_hook(watch)
    linear = [part.weight for part in meta_of(model).layers if isinstance(part, nn.Linear)]
    list(run(model, data[:2], [rate] * 2))
    w1, w2 = (weight.detach().clone() for weight in linear)
    list(run(model, data[2:], [rate], start=2, gamma=1e-30))  # phi stays, and keeps its gradient
    cal = [make_base("dorefa", 1).prepare(w)[1] for w, _ in seen]
    # the hooks run from the last layer to the first, two entries a step
    d = -rate * sum(
        (seen[new][1] * cal[new] * cal[old] * seen[old][1]).sum() for old, new in ((2, 4), (3, 5))
    )
    torch.testing.assert_close(linear[0].grad, d * w2.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(linear[1].grad, d * w1.T, rtol=0, atol=1e-12)


class Unquantized(Base):
    """No rounding, so that a loss can be linear in the weight."""

    def prepare(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight, torch.ones_like(weight)

    def straight_through(self, gradient: Tensor, weight: Tensor, cal: Tensor) -> Tensor:
        return gradient

    value = codes = None


def two_gradients(refinement: str, rate: float) -> tuple[MetaNetwork, Tensor, Tensor]:
    shared, weight = meta(), values(20).clone()
    shared.members = 1
    shared.rate.fill_(rate)
    shared.moved_rate.fill_(rate)
    step = MetaStep(
        weight, Unquantized(), shared, Refinement(refinement, 0.0, weight),
        released=False, phi_path="ste",
    )  # fmt: skip
    with torch.no_grad():
        step.teach(shared, values(20, 1), weight, first=True)
        step.move(shared, values(20, 1), weight, first=True)
        moved = weight - values(20)
        step.teach(shared, values(20, 2), weight, first=False)
    return shared, moved, shared.layers[0].weight.grad


def test_mq6_phi_gradient_is_linear_in_the_rate() -> None:
    small, large = (two_gradients("sgd", rate)[2] for rate in (1e-3, 1e-2))
    torch.testing.assert_close(10 * small, large)


def test_mq7_refinement_is_transparent_for_phi() -> None:
    _, plain, expected = two_gradients("sgd", 1e-3)
    shared, moved, found = two_gradients("adam", 1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert not torch.allclose(moved, plain)
    estimate = shared.gains() * values(20, 1)
    first = -1e-3 * estimate / (estimate.abs() + 1e-8)  # Adam's first step
    torch.testing.assert_close(moved, first, rtol=1e-9, atol=0)
    assert float(moved.abs().max()) <= 1e-3


@pytest.mark.parametrize(("refinement", "same"), [("adam", True), ("sgd", False)])
def test_mq8_adam_does_not_see_the_gain(refinement: str, same: bool) -> None:
    ends = []
    for gain in (1.0, 10.0):
        model = network(refinement=refinement, c=gain)
        list(run(model, batches(200), [1e-3] * 200, gamma=None))
        ends.append(model[0].weight.detach())
    assert (float((ends[0] - ends[1]).abs().max()) < 1e-6) == same  # the page's tolerance


def test_mq9_networks_collapse_unless_they_bend() -> None:
    x, y = values(50), values(50, seed=1)
    linear, rectified, bent = (meta(activation=kind, depth=3) for kind in ("none", "relu", "tanh"))
    for shared in (linear, bent):
        difference = (shared(2 * x - 3 * y)[0] - 2 * shared(x)[0] + 3 * shared(y)[0]).detach()
        assert (float(difference.abs().max()) < 1e-12) == (shared is linear)
    up, down = rectified.gains().detach()
    expected = up * x.relu() + down * (-x).relu()
    torch.testing.assert_close(rectified(x)[0], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(linear(x)[0], linear.gains() * x, rtol=0, atol=1e-12)
    assert float((bent(10 * x)[0] - 10 * bent(x)[0]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["fcgrad", "multifc"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_mq9_the_collapsed_form_equals_the_full_network(kind: str, activation: str) -> None:
    weight, found = values(40).view(5, 8), []
    for trace_of in (CollapsedTrace, FullTrace):
        shared = meta(kind, activation=activation, depth=3)
        shared.members = 1
        shared.moved_rate.fill_(0.1)
        trace = trace_of(shared, weight)
        with torch.no_grad():
            moved = trace.move(shared, values(40, 1).view(5, 8), weight)
            trace.teach(shared, values(40, 2).view(5, 8))
        found.append([moved, *(parameter.grad for parameter in shared.parameters())])
    for collapsed, full in zip(*found, strict=True):
        torch.testing.assert_close(collapsed, full, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["fcgrad", "multifc", "lstmfc"])
def test_mq10_one_function_for_every_coordinate(kind: str) -> None:
    shared = meta(kind).float()
    x, order = values(300).float(), torch.randperm(300, generator=torch.Generator().manual_seed(0))
    whole = shared(x)[0]
    torch.testing.assert_close(shared(x[order])[0], whole[order], rtol=1e-6, atol=1e-7)
    parts = torch.cat([shared(part)[0] for part in x.split(70)])
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-7)  # float32 rounds to 6e-8


def test_mq10_numbers_of_parameters() -> None:
    shapes = {
        ("fcgrad", 2): 200,
        ("multifc", 2): 200,
        ("multifc", 3): 10_200,
        ("lstmfc", 2): 41_301,
    }
    for (kind, depth), expected in shapes.items():
        phi = sum(parameter.numel() for parameter in meta(kind, depth=depth).parameters())
        assert phi == expected
    model = network()
    first, second = quantizers(model)
    assert first.network is second.network
    assert sum(p.numel() for p in model.parameters()) == 200 + 6 * 8 + 8 * 3


def test_mq11_the_lstm_remembers_per_weight() -> None:
    shared, weight = meta("lstmfc"), values(12).view(3, 4)
    trace = FullTrace(shared, weight)
    with torch.no_grad():
        first = trace.move(shared, weight, torch.ones_like(weight))
        trace.teach(shared, weight)  # the state goes on when the graph of the move is made again
        carried = trace.move(shared, weight, torch.ones_like(weight))
        trace.hidden.zero_()
        trace.cell.zero_()
        reset = trace.move(shared, weight, torch.ones_like(weight))
    assert torch.equal(first, reset)
    assert float((carried - first).abs().max()) > 1e-3  # the page saw 0.033
    assert trace.hidden.shape == trace.cell.shape == (1, 12, 100)
    assert not trace.hidden.requires_grad


@pytest.mark.parametrize("order", ["paper", "released"])
def test_mq12_deployment_needs_no_meta_network(order: str) -> None:
    model = network(2, dtype=torch.float32, order=order)
    list(run(model, batches(3, torch.float32), [0.05] * 3))
    x = batches(1, torch.float32)[0][0]
    model.eval()
    logits = model(x)
    assert torch.equal(model(x), logits)
    deployed = load_deployed(freeze(model), network(2, seed=7, dtype=torch.float32, order=order))
    assert not any(isinstance(part, MetaNetwork) for part in deployed.modules())
    assert torch.equal(deployed(x), logits)


@pytest.mark.parametrize("gain", [-0.1, -0.3])
def test_mq13_a_negative_gain_recovers(gain: float) -> None:
    """The page's toy: alpha = gamma = 1e-3, 50 steps."""
    losses = []
    for start in (gain, -gain):
        model = network(c=start, refinement="sgd")
        last = [loss for _, _, loss in run(model, batches(50, size=64), [1e-3] * 50, gamma=1e-3)]
        assert float(quantizers(model)[0].gain) > 0
        losses.append(sum(last[-10:]))
    assert losses[0] < 1.1 * losses[1]
