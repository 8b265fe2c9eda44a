"""G5: the debiased signal-to-noise ratio and the spread of gradient sizes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.gradient_noise import GradientMoments
from qbench.diagnostics.measure import Chosen, measure
from qbench.diagnostics.probe import Probe
from qbench.models.batch_norm import with_batch_statistics
from qbench.models.convert import initialize, quantize
from qbench.quantizers.ste import STE


def moments(gradients: Tensor) -> GradientMoments:
    found = GradientMoments()
    for gradient in gradients:
        found.add(gradient)
    return found


def test_the_ratio_is_that_of_pairwise_products() -> None:
    torch.manual_seed(0)
    g = torch.randn(5, 3, 7, dtype=torch.float64) + 0.4
    products = g.flatten(1) @ g.flatten(1).T
    signal = (products.sum() - products.trace()) / 20  # ordered pairs of 5
    noise = g.var(0).sum()
    assert torch.isclose(moments(g).signal_to_noise(), signal / noise, rtol=1e-12)


def test_the_signal_is_not_biased_by_noise() -> None:
    torch.manual_seed(1)
    mean = torch.full((200,), 0.1)  # squared norm 2, trace of the covariance 200
    found = torch.stack([
        moments(mean + torch.randn(4, 200)).signal_to_noise() for _ in range(400)
    ])  # fmt: skip
    # of one: sd about sqrt(2 d / (M (M - 1)) + 4 |mean|^2 / M) / d = 0.029; of 400 means 0.0015.
    # The plain squared norm of the mean would give 0.01 + 1 / 4.
    assert abs(float(found.mean()) - 0.01) < 4 * 0.0015


def test_magnitudes_of_a_gaussian() -> None:
    torch.manual_seed(2)
    variation = moments(3e-4 * torch.randn(4, 100_000)).magnitude_variation()
    assert abs(float(variation) - (torch.pi / 2 - 1) ** 0.5) < 0.005  # sd 0.0013


def test_without_noise_or_gradient_nothing_is_finite() -> None:
    assert not moments(torch.ones(3, 4)).signal_to_noise().isfinite()
    assert not moments(torch.zeros(3, 4)).magnitude_variation().isfinite()
    assert not moments(torch.ones(1, 4)).signal_to_noise().isfinite()


def test_minibatches_are_probed_one_by_one() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    quantize(
        model,
        weights=lambda: STE(bit_width=2, target="weight"),
        activations=None,
        keep_float=["last"],
    )
    batches = [(torch.randn(10, 1, 6, 6), torch.randint(0, 3, (10,))) for _ in range(6)]
    initialize(model, batches[0][0])
    measurement = Measurement(
        probe=Probe(model, *batches[0], seed=0, label_smoothing=0.1),
        epoch=0,
        layers=("0",),
        held_out=lambda: [],
        training=lambda: iter(batches),
    )
    found = measure([Chosen("gradient_noise", {"batches": 4})], measurement).network
    gradients = []
    for images, labels in batches[:4]:
        with with_batch_statistics(model):
            loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
            gradients += torch.autograd.grad(loss, model[0].weight)
    expected = moments(torch.stack(gradients))
    values = {row.name: row.value for row in found}
    assert values.keys() == {
        "gradient/signal_to_noise", "gradient/magnitude_cv", "gradient/quantizer_noise"
    }  # fmt: skip
    assert values["gradient/quantizer_noise"] == 0, "nothing is drawn"
    ratio = float(expected.signal_to_noise())
    assert abs(values["gradient/signal_to_noise"] - ratio) < 1e-5
    assert abs(values["gradient/magnitude_cv"] - float(expected.magnitude_variation())) < 1e-5


class HalfDrawn(STE):
    """Its gradient is that of ste plus normal noise of the same squared length on average."""

    def forward(self, x: Tensor) -> Tensor:
        value = super().forward(x)

        def add_noise(gradient: Tensor) -> Tensor:
            return gradient + torch.randn_like(gradient) * gradient.square().mean().sqrt()

        if value.requires_grad:
            value.register_hook(add_noise)
        return value


def test_the_noise_of_a_quantizer_that_draws_is_its_share_of_the_squared_length() -> None:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 3))
    images, labels = torch.randn(32, 40), torch.randint(0, 3, (32,))
    quantize(
        model,
        weights=lambda: HalfDrawn(bit_width=2, target="weight"),
        activations=None,
        keep_float=["last"],
    )
    initialize(model, images)
    probe = Probe(model, images, labels, seed=0)
    measurement = Measurement(probe, 0, ("0",), lambda: [], lambda: [])
    found = measure([Chosen("gradient_noise", {})], measurement).network
    values = {row.name: row.value for row in found}
    # d = 2,000, 16 samples: sd about 0.5 sqrt(2 / (16 d)) + that of the lengths, 0.01
    assert abs(values["gradient/quantizer_noise"] - 0.5) < 0.04


def test_the_share_of_noise_alone_is_1() -> None:
    torch.manual_seed(5)
    assert abs(float(moments(torch.randn(16, 5_000)).noise_share()) - 1) < 0.01
    assert float(moments(torch.ones(3, 4)).noise_share()) == 0
