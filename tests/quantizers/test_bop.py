"""Bop: Helwegen et al. 2019, algorithm 1."""

import pytest
import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.models.convert import initialize, quantize
from qbench.quantizers.bop import Bop
from qbench.quantizers.contract import Progress
from qbench.study.schema import Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers


def started(weight: Tensor, **options: float) -> tuple[Bop, nn.Parameter]:
    quantizer, latent = Bop(bit_width=1, target="weight", **options), nn.Parameter(weight.clone())
    with torch.no_grad():
        quantizer.initialize(latent, nn.Identity(), latent)
    return quantizer, latent


def stepped(quantizer: Bop, latent: nn.Parameter, gradient: Tensor) -> None:
    latent.grad = gradient.clone()
    quantizer.after_step(latent)


def test_weights_are_signs_from_the_start_on() -> None:
    quantizer, latent = started(torch.tensor([[-0.3, 0.0, 0.2]]))
    assert latent.tolist() == [[-1, 1, 1]]
    assert torch.equal(quantizer(latent), latent)


def test_b26_the_flip_rule() -> None:
    """A sign flips where |m| > threshold and sign m = sign w, and nowhere else."""
    weight = torch.tensor([[1.0, 1, 1, -1, -1, -1]])
    gradient = torch.tensor([[3.0, 1, -3, -3, -1, 3]])
    quantizer, latent = started(weight, gamma=0.5, threshold=1.0)  # m = gradient / 2
    stepped(quantizer, latent, gradient)
    assert latent.tolist() == [[-1, 1, 1, 1, -1, -1]]
    assert latent.grad is None  # or it would add up: no optimizer clears it


def test_b26_the_average_is_exponential() -> None:
    gradients = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    quantizer, latent = started(torch.randn(3, 5, generator=torch.Generator().manual_seed(1)),
                                gamma=0.1, threshold=0.05)  # fmt: skip
    mean, sign = torch.zeros(3, 5), latent.detach().clone()
    flips = 0
    for gradient in gradients:
        stepped(quantizer, latent, gradient)
        mean = 0.9 * mean + 0.1 * gradient
        flip = (mean.abs() > 0.05) & (mean.sign() == sign.sign())
        sign = torch.where(flip, -sign, sign)
        flips += int(flip.sum())
        assert torch.equal(latent.detach(), sign)
        assert torch.allclose(quantizer.average, mean, atol=1e-6)
    assert flips > 20  # of 300 chances


def test_b26_without_gamma_nothing_flips() -> None:
    quantizer, latent = started(torch.ones(3, 5), gamma=0.0, threshold=0.0)
    for _ in range(5):
        stepped(quantizer, latent, torch.ones(3, 5))
    assert torch.equal(latent.detach(), torch.ones(3, 5))


def test_gamma_falls_by_stages() -> None:
    quantizer = Bop(bit_width=1, target="weight", gamma=1e-2, stages=5)
    found = []
    for step in (0, 199, 200, 799, 999, 1000):
        quantizer.set_progress(Progress(step, 1000, 0, 10, learning_rate=0.1))
        found.append(quantizer.rate.item())
    expected = [1e-2, 1e-2, 1e-3, 1e-5, 1e-6, 1e-6]  # the last share begins at 800
    assert found == pytest.approx(expected, rel=1e-5)


def test_b26_a_trained_network_has_signs_that_no_optimizer_touched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 3))
    quantize(
        model,
        weights=lambda: Bop(bit_width=1, target="weight", gamma=0.1, threshold=1e-4),
        activations=None,
        keep_float=("last",),
    )
    images, labels = torch.randn(64, 6), torch.randint(0, 3, (64,))
    initialize(model, images)
    before = model[0].weight.detach().clone()
    optimizers = make_optimizers(model, Training())
    known = {id(p) for one in optimizers for group in one.param_groups for p in group["params"]}
    assert id(model[0].weight) not in known
    assert id(model[2].weight) in known
    engine = Engine(model.train(), optimizers, Training())
    for step in range(10):
        engine.step((images, labels), Progress(step, 10, 0, 1, learning_rate=0.1))
    assert torch.equal(model[0].weight.abs(), torch.ones(16, 6))
    assert 0 < (model[0].weight != before).sum() < 96


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"threshold": -1.0}, {"stages": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="bop"):
        Bop(bit_width=1, target="weight", **options)
