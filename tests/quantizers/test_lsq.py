"""LSQ: Esser et al. 2020, equations 1 to 5 and section 2.2."""

import pytest
import torch
from torch import nn

from qbench.quantizers.lsq import LSQ


def quantizer(bits: int, step: float, target: str = "weight", scale: bool = False) -> LSQ:
    made = LSQ(bit_width=bits, target=target, gradient_scale=scale)
    made.step.data.fill_(step)
    return made


def test_the_gradient_of_the_step_is_that_of_equation_3() -> None:
    made = quantizer(2, 1.0)  # N = 2, P = 1
    cases = {0.4: -0.4, 0.6: 0.4, -3.0: -2.0, 5.0: 1.0}  # round(v) - v inside, -N and P outside
    for v, expected in cases.items():
        made.step.grad = None
        made(torch.tensor([v])).sum().backward()
        assert made.step.grad.item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_of_the_input_passes_inside_the_clip_range() -> None:
    x = torch.tensor([-3.0, -2.0, 0.3, 1.0, 1.2], requires_grad=True)
    quantizer(2, 1.0)(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]  # the ends count as inside


@pytest.mark.parametrize(("target", "highest"), [("weight", 7), ("activation", 15)])
def test_the_step_gradient_is_scaled(target: str, highest: int) -> None:
    batch = torch.rand(5, 3, 4, 4)
    count = batch.numel() if target == "weight" else batch[0].numel()
    gradients = []
    for scale in (False, True):
        made = LSQ(bit_width=4, target=target, gradient_scale=scale)
        made.initialize(batch, nn.Identity(), batch)
        made(batch).sum().backward()
        gradients.append(made.step.grad.item())
    assert gradients[1] / gradients[0] == pytest.approx((count * highest) ** -0.5, rel=1e-5)


def test_the_start_of_the_step() -> None:
    weight = torch.tensor([-1.0, 0.5, 0.25, -0.25])
    made = LSQ(bit_width=3, target="weight")
    made.initialize(weight, nn.Identity(), weight)
    assert made.step.item() == pytest.approx(2 * 0.5 / 3**0.5)  # 2 mean|w| / sqrt(P), P = 3


def test_activations_without_negative_values_are_unsigned() -> None:
    made = LSQ(bit_width=2, target="activation")
    made.initialize(torch.rand(2, 8), nn.Identity(), torch.rand(2, 8))
    made.step.data.fill_(0.1)
    assert torch.allclose(made(torch.tensor([-1.0, 0.14, 9.0])), torch.tensor([0.0, 0.1, 0.3]))


def test_a_step_that_crosses_zero_does_not_flip_the_grid() -> None:
    x = torch.tensor([0.3, -0.3])
    assert torch.equal(quantizer(4, -0.1)(x), quantizer(4, 0.1)(x))
    assert torch.isfinite(quantizer(4, 0.0)(x)).all()


def test_it_equals_the_equations_by_plain_autograd() -> None:
    x = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = quantizer(3, 0.37).double()
    ours = x.clone().requires_grad_()
    (made(ours) * x.cos()).sum().backward()
    theirs, step = x.clone().requires_grad_(), torch.tensor(0.37).double().requires_grad_()
    clipped = (theirs / step).clamp(-4, 3)
    rounded = clipped + (clipped.round() - clipped).detach()
    (rounded * step * x.cos()).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert torch.allclose(made.step.grad, step.grad, atol=1e-6)  # 0.37 was rounded to float32
