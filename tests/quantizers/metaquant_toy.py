"""A small quantized network under MetaQuant, and the paper's step written as one graph."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress
from qbench.quantizers.meta_networks import MetaNetwork
from qbench.quantizers.metaquant import MetaQuant
from qbench.study.schema import Training
from qbench.training.engine import Engine

Batch = tuple[Tensor, Tensor]


def network(bits: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any):
    """Linear, ReLU, linear, both quantized; the meta network has slope ``options['c']``."""
    slope = options.pop("c", None)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
    model.to(dtype)
    quantize(
        model,
        weights=lambda: MetaQuant(bit_width=bits, target="weight", **options).to(dtype),
        activations=None,
        keep_float=(),
    )
    for layer in quantized_layers(model).values():
        layer.weight_quantizer.network.to(dtype)
    initialize(model, batches(1, dtype=dtype)[0][0])
    meta = meta_of(model)
    if slope is not None:
        last = meta.layers[-1].weight
        last.data.mul_(slope / meta.gains()[0].item())
    return model


def meta_of(model: nn.Module) -> MetaNetwork:
    return next(iter(quantized_layers(model).values())).weight_quantizer.network


def batches(count: int, dtype: torch.dtype = torch.float64, size: int = 16) -> list[Batch]:
    """Batches that a linear teacher labelled."""
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(6, 3, generator=generator, dtype=dtype)
    inputs = [torch.randn(size, 6, generator=generator, dtype=dtype) for _ in range(count)]
    return [(x, (x @ teacher).argmax(1)) for x in inputs]


def run(
    model: nn.Module,
    data: list[Batch],
    rates: list[float],
    gamma: float | None = 1e-2,
    start: int = 0,
    adam: torch.optim.Adam | None = None,
) -> Iterator[tuple[list[Tensor], list[Tensor], float]]:
    """Train by the harness; yields the weights of each forward, phi after the step, the loss."""
    own = [torch.optim.Adam(meta_of(model).parameters(), lr=gamma)] if gamma else []
    engine = Engine(model, [adam] if adam else own, Training())
    layers = list(quantized_layers(model).values())
    for step, ((x, y), rate) in enumerate(zip(data, rates, strict=True), start):
        points = []
        for layer in layers:
            step_of = layer.weight_quantizer.step
            points.append(step_of.point(layer.weight).detach().clone())
        progress = Progress(step, 100, step, 100, learning_rate=rate)
        loss, _ = engine.step((x, y), progress)
        phi = [parameter.detach().clone() for parameter in meta_of(model).parameters()]
        yield points, phi, loss.item()


class Paper:
    """Section 4.1 of the method's page, or 4.3 for the published code, with W_t in the graph.

    Only the meta network's own forward is qbench's; pre-processing, rounding, the
    straight-through slope and the refinement are written or taken from PyTorch here.
    """

    def __init__(self, model: nn.Module, options: dict[str, Any], bits: int) -> None:
        self.weights = [
            layer.weight.detach().clone() for layer in model if hasattr(layer, "weight")
        ]
        self.meta, self.bits = meta_of(model), bits
        self.base = options.get("base", "dorefa")
        self.released = options.get("order") == "released"
        self.by_itself = options.get("phi_path") == "meta"
        self.kind = options.get("refinement", "momentum")
        self.decay = options.get("weight_decay", 0.0)
        self.moving = [w.clone().requires_grad_() for w in self.weights]
        self.optimizer = {
            "sgd": lambda p: torch.optim.SGD(p, lr=1.0, weight_decay=self.decay),
            "momentum": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=self.decay),
            "adam": lambda p: torch.optim.Adam(p, lr=1.0, weight_decay=self.decay),
        }[self.kind](self.moving)
        self.states: list[Any] = [None] * len(self.weights)

    def unit(self, w: Tensor) -> Tensor:
        if self.base != "dorefa":
            return w
        return w.tanh() / (2 * w.detach().tanh().abs().max()) + 0.5

    def cal(self, w: Tensor) -> Tensor:
        if self.base != "dorefa":
            return torch.ones_like(w)
        return (1 - w.tanh() ** 2) / w.tanh().abs().max()

    def quantized(self, w: Tensor) -> Tensor:
        """The rounded weight, straight-through."""
        if self.base != "dorefa":
            mean = w.detach().abs().mean()
            soft = mean * w.clamp(-1, 1)
            hard = torch.where(w >= 0, mean, -mean)
        else:
            steps = 2**self.bits - 1
            soft = 2 * self.unit(w)
            hard = 2 * torch.floor(self.unit(w) * steps + 0.5) / steps - 1
        return soft + (hard - soft).detach()

    def estimate(self, index: int, g: Tensor, u: Tensor, keep: bool = True) -> Tensor:
        z = u if self.meta.gated else g
        found, state = self.meta(z.flatten(), self.states[index])
        if keep and state is not None:
            self.states[index] = tuple(part.detach() for part in state)
        return (g if self.meta.gated else 1.0) * found.view(z.shape)

    def refined(self, gradients: list[Tensor]) -> list[Tensor]:
        for parameter, weight, gradient in zip(self.moving, self.weights, gradients, strict=True):
            parameter.data.copy_(weight)
            parameter.grad = gradient.clone()
        self.optimizer.step()
        return [w - p.detach() for w, p in zip(self.weights, self.moving, strict=True)]

    def run(
        self, data: list[Batch], rates: list[float], gamma: float = 1e-2
    ) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        phi = list(self.meta.parameters())
        adam = torch.optim.Adam(phi, lr=gamma)
        moved: list[Tensor] = []
        for step, (x, y) in enumerate(data):
            adam.zero_grad()
            points, committed = self.weights, self.weights
            if step:
                rate = rates[step - 1]  # the rate of the batch that g came from
                raw = [
                    self.estimate(i, g, u) * self.cal(w)
                    for i, (g, u, w) in enumerate(zip(self.g, self.u, self.weights, strict=True))
                ]
                refined = self.refined([part.detach() for part in raw])
                committed = [w - rate * r for w, r in zip(self.weights, refined, strict=True)]
                used = moved if self.released else [rate * r for r in refined]
                points = [
                    w - (rate * part + (value - rate * part).detach())
                    for w, part, value in zip(self.weights, raw, used, strict=True)
                ]
                moved = [rate * r for r in refined]
            seen = [part.detach().clone() for part in points]
            hats = [self.quantized(p if step else p.clone().requires_grad_()) for p in points]
            for hat in hats:
                hat.retain_grad()
            loss = cross_entropy((x @ hats[0].T).relu() @ hats[1].T, y)
            loss.backward(retain_graph=True)
            self.g = [hat.grad.clone() for hat in hats]
            self.u = [self.unit(part) for part in seen]
            if not step:
                slopes = [g * self.slope(w) for g, w in zip(self.g, self.weights, strict=True)]
                moved = [rates[0] * slope for slope in slopes]
            elif self.by_itself:  # eq. 8 in the place of the straight-through slope
                adam.zero_grad()
                slopes = [
                    (self.estimate(i, g, u, keep=False) * self.cal(p)).detach()
                    for i, (g, u, p) in enumerate(zip(self.g, self.u, seen, strict=True))
                ]
                torch.autograd.backward(points, slopes)
            if step:
                adam.step()
            self.weights = [part.detach() for part in committed]
            yield seen, [parameter.detach().clone() for parameter in phi]

    def slope(self, w: Tensor) -> Tensor:
        w = w.clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.quantized(w).sum(), w)
        return slope
