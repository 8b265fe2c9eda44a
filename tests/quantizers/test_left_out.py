"""Methods without one of their parts: what is left, from the equations."""

import pytest
import torch
from torch import nn

from qbench.quantizers.contract import Progress
from qbench.registry import quantizers


def weights(seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator) + 0.2)


def made(name: str, target: str = "weight", bits: int = 1, **options: object):
    return quantizers.load(name)(bit_width=bits, target=target, **options)


def halfway() -> Progress:
    return Progress(50, 100, 50, 100, learning_rate=0.1)


def gradient(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    upstream = torch.linspace(-1, 2, value.numel()).view_as(value)
    return torch.autograd.grad((value * upstream).sum(), x)[0]


@pytest.mark.parametrize("target", ["weight", "activation"])
def test_daq_without_an_output_scale_has_levels_up_to_one(target: str) -> None:
    layer = nn.Conv2d(4, 8, 3)
    inputs = torch.rand(6, 4, 5, 5)
    x = layer.weight if target == "weight" else inputs
    whole, without = made("daq", target, 2), made("daq", target, 2, output_scale=False)
    for quantizer in (whole, without):
        quantizer.initialize(x, layer, inputs)
    lowest = -1.0 if target == "weight" else 0.0
    assert torch.allclose(without.codes(x)[1], torch.linspace(lowest, 1, 4))
    assert not torch.allclose(whole.codes(x)[1], without.codes(x)[1])
    without(x).sum().backward()
    assert without.scale.grad is None
    assert float(without.scale) == 1
    assert whole.upper == without.upper  # the interval starts alike


def test_irnet_without_balance_has_the_signs_of_the_weights() -> None:
    x = weights()
    codes, levels = made("irnet", balanced=False).codes(x)
    assert torch.equal(codes, (x >= 0).long())
    assert not torch.equal(made("irnet").codes(x)[0], codes)  # the filters have a mean
    power = x.abs().mean((1, 2, 3)).log2().round().exp2()
    assert torch.allclose(levels[:, 1], power)


@pytest.mark.parametrize("target", ["weight", "activation"])
def test_irnet_without_its_estimator_has_the_clipped_slope(target: str) -> None:
    x = weights()
    quantizer = made("irnet", target, balanced=False, estimator="clipped")
    quantizer.set_progress(halfway())
    scale = quantizer.scale(x)
    scale = 1.0 if scale is None else scale.detach().view(-1, 1, 1, 1)
    value = quantizer(x)
    upstream = torch.linspace(-1, 2, value.numel()).view_as(value)
    expected = upstream * scale * (x.abs() <= 1)
    assert torch.allclose(gradient(value, x), expected)


def test_adabin_without_adaptive_weights_has_levels_around_zero() -> None:
    """Its gradient is that of alpha b(w / alpha), alpha = sqrt(mean w^2), in float64."""
    x = nn.Parameter(weights().detach().double())
    quantizer = made("adabin", adaptive_weights=False).double()
    quantizer.set_progress(halfway())
    alpha = x.square().mean((1, 2, 3), keepdim=True).sqrt()
    unit = x / alpha
    t = float(quantizer.sharpness)
    # sign forward; backward k t (1 - tanh^2), which is the derivative of k tanh(t v)
    smooth = max(1 / t, 1) * torch.tanh(t * unit)
    sign = torch.where(unit >= 0, 1.0, -1.0).double()
    expected = alpha * (smooth + (sign - smooth).detach())
    assert torch.allclose(quantizer(x), expected)
    assert torch.allclose(gradient(quantizer(x), x), gradient(expected, x))
    _, levels = quantizer.codes(x.float())
    assert torch.equal(levels[:, 0], -levels[:, 1])


def test_adabin_without_adaptive_activations_has_signs() -> None:
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    quantizer = made("adabin", "activation", adaptive_activations=False)
    quantizer(x).square().sum().backward()
    assert torch.equal(quantizer(x), torch.where(x >= 0, 1.0, -1.0))
    assert quantizer.size.grad is None
    assert quantizer.centre.grad is None


def test_lsq_plus_without_its_offset_quantizes_activations_as_lsq() -> None:
    x = torch.rand(6, 4, 5, 5, requires_grad=True)
    plain, without = made("lsq", "activation", 3), made("lsq_plus", "activation", 3, offset=False)
    for quantizer in (plain, without):
        quantizer.initialize(x, nn.Conv2d(4, 8, 3), x)
    assert torch.equal(plain(x), without(x))
    assert torch.equal(gradient(plain(x), x), gradient(without(x), x))
    x = weights()
    whole, without = made("lsq_plus", bits=3), made("lsq_plus", bits=3, offset=False)
    for quantizer in (whole, without):
        quantizer.initialize(x, nn.Conv2d(4, 8, 3), x)
    assert torch.equal(whole(x), without(x))


def test_n2uq_without_learned_thresholds_keeps_its_uniform_ones() -> None:
    x = torch.rand(6, 4, 5, 5) * 2
    quantizer = made("n2uq", "activation", 2, learn_thresholds=False)
    quantizer(x).square().sum().backward()
    assert quantizer.widths.grad is None
    assert quantizer.start.grad is None
    assert quantizer.output_scale.grad is not None


def test_n2uq_without_even_levels_reaches_the_largest_weight() -> None:
    x = weights()
    _, levels = made("n2uq", bits=2, even_levels=False).codes(x)
    assert torch.allclose(levels[:, -1], x.abs().amax((1, 2, 3)))
    value = made("n2uq", bits=2, even_levels=False)(torch.zeros(2, 1, 3, 3))
    assert torch.isfinite(value).all()


@pytest.mark.parametrize(("target", "bits"), [("weight", 3), ("activation", 2)])
def test_quantization_networks_with_linear_thresholds_rounds_to_the_nearest(
    target: str, bits: int
) -> None:
    x = torch.rand(6, 4, 5, 5)
    quantizer = made("quantization_networks", target, bits, start="linear")
    quantizer.initialize(x, nn.Conv2d(4, 8, 3), x)
    codes, levels = quantizer.codes(x)
    nearest = (x.flatten()[:, None] - levels).abs().argmin(1).view_as(x)
    assert torch.equal(codes, nearest)
