"""SiMaN: Lin et al. 2022, magnitudes in place of signs."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import Progress
from qbench.quantizers.siman import SiMaN


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def started(weight: Tensor, **options: float) -> tuple[SiMaN, nn.Parameter]:
    quantizer = SiMaN(bit_width=1, target="weight", **options)
    latent = nn.Parameter(weight.clone())
    with torch.no_grad():
        quantizer.initialize(latent, nn.Identity(), latent)
    return quantizer, latent


def standardised(x: Tensor) -> Tensor:
    centred = x - x.flatten(1).mean(1).view(-1, *[1] * (x.ndim - 1))
    variance = centred.flatten(1).var(1).view(-1, *[1] * (x.ndim - 1))
    return centred / (variance + 1e-5).sqrt()


def test_b23_half_of_each_filter_is_the_upper_level() -> None:
    quantizer, latent = started(normal(6, 4, 3, 3))
    codes, codebook = quantizer.codes(latent)
    assert torch.equal(codes.flatten(1).sum(1), torch.full((6,), 18))  # of 36
    size = standardised(latent.detach()).abs().flatten(1)
    for filter_codes, filter_size in zip(codes.flatten(1), size, strict=True):
        assert filter_size[filter_codes == 1].min() >= filter_size[filter_codes == 0].max()
    assert torch.equal(codebook, torch.stack([-quantizer.alpha, quantizer.alpha], 1))


def test_b23_signs_do_not_matter() -> None:
    """Flips that leave the mean: a filter that has each magnitude twice, with both signs."""
    half = normal(6, 18)
    weight = torch.cat([half, -half], 1)
    flipped = torch.cat([-half[:, :5], half[:, 5:], half[:, :5], -half[:, 5:]], 1)
    quantizer, _ = started(weight)
    assert torch.equal(quantizer.codes(weight)[0], quantizer.codes(flipped)[0])


def test_b23_weights_are_the_codes_in_value_and_gradient() -> None:
    quantizer, latent = started(normal(6, 4, 3, 3), percent=0.0)
    incoming = normal(6, 4, 3, 3, seed=1)
    value = quantizer(latent)
    value.backward(incoming)
    theirs = latent.detach().clone().requires_grad_()
    alpha = quantizer.alpha.detach().clone().requires_grad_()
    size = standardised(theirs).abs()
    signs = 2 * quantizer.codes(latent)[0] - 1
    expected = alpha.view(-1, 1, 1, 1) * (size - size.detach() + signs)
    expected.backward(incoming)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(latent.grad, theirs.grad, atol=1e-12)
    assert torch.allclose(quantizer.alpha.grad, alpha.grad)


def test_b23_the_scale_starts_at_the_filters_mean() -> None:
    weight = normal(6, 4, 3, 3)
    quantizer, _ = started(weight)
    assert torch.allclose(quantizer.alpha, weight.abs().mean((1, 2, 3)))


@pytest.mark.parametrize("epoch", [0, 40, 100])
def test_b23_latent_weights_are_centred_and_clipped_to_percentiles(epoch: int) -> None:
    quantizer, latent = started(normal(6, 4, 3, 3), percent=15.0)
    quantizer.set_progress(Progress(epoch, 100, epoch, 100, learning_rate=0.1))
    latent.data.copy_(normal(6, 4, 3, 3, seed=2) + 0.3)
    centred = latent.detach() - latent.detach().mean((1, 2, 3), keepdim=True)
    quantizer.after_step(latent)
    percent = 15 * (1 - epoch / 100)
    low, high = np.percentile(centred.abs().numpy(), [percent, 100 - percent])
    expected = centred.abs().clamp(low, high) * centred.sign()
    assert torch.allclose(latent.detach(), expected, atol=1e-12)


def test_b23_activations_are_signs_around_the_mean_of_their_sample() -> None:
    """So inputs after a ReLU have both signs."""
    x, incoming = normal(8, 5, 4, 4).relu(), normal(8, 5, 4, 4, seed=1)
    quantizer = SiMaN(bit_width=1, target="activation")
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    value = quantizer(ours)
    value.backward(incoming)
    unit = standardised(theirs)
    inner = unit.clamp(-1, 1)
    soft = 2 * inner - inner * inner.abs()
    expected = torch.where(unit >= 0, 1.0, -1.0) - soft.detach() + soft
    expected.backward(incoming)
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert 0.2 < (value > 0).double().mean() < 0.8


def test_a_percentage_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="percent"):
        SiMaN(bit_width=1, target="weight", percent=50.0)
