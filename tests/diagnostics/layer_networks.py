"""Small quantized networks, and what diagnostics say of them."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.measure import Chosen, Measured, measure
from qbench.diagnostics.probe import Probe
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer
from qbench.registry import quantizers

Factory = Callable[[], Quantizer] | None


def converted(model: nn.Module, images: torch.Tensor, weights: Factory, activations: Factory):
    quantize(model, weights=weights, activations=activations, keep_float=())
    initialize(model, images)
    return model


def one_layer(
    weights: Factory, activations: Factory = None, *, inputs: int = 6, outputs: int = 5
) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, outputs, bias=False))
    return converted(model, torch.randn(4, inputs), weights, activations)


def linear_probe(name: str = "ste", bits: int = 2, seed: int = 0, images: int = 200) -> Probe:
    """Two quantized linear layers and a float one; the second, of 1200 weights, is named 2."""
    torch.manual_seed(0)
    kind = quantizers.load(name)
    model = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 30), nn.Linear(30, 3))
    quantize(
        model,
        weights=lambda: kind(bit_width=bits, target="weight"),
        activations=None,
        keep_float=["last"],
    )
    batch = torch.randn(images, 12), torch.randint(0, 3, (images,))
    initialize(model, batch[0])
    return Probe(model, *batch, seed=seed)


def convolutions(weights: Factory, activations: Factory) -> nn.Sequential:
    """Three quantized layers with batch norm between them."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8 * 25, 4),
    )
    return converted(model, torch.randn(16, 2, 5, 5), weights, activations)


def batch(model: nn.Module, seed: int = 0, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = next(model.parameters())
    shape = (weight.shape[1],) if weight.ndim == 2 else (weight.shape[1], 5, 5)
    images = torch.randn(size, *shape, generator=generator)
    return images, torch.randint(0, 4, (size,), generator=generator)


def measured(model: nn.Module, of: Sequence[str], held_out: int = 3, **options: object) -> Measured:
    images, labels = batch(model)
    probe = Probe(model, images, labels, seed=0)
    measurement = Measurement(
        probe=probe,
        epoch=0,
        layers=tuple(probe.layers),
        held_out=lambda: [batch(model, seed) for seed in range(1, 1 + held_out)],
        training=lambda: [batch(model, seed) for seed in range(10, 14)],
    )
    return measure([Chosen(name, dict(options)) for name in of], measurement)
