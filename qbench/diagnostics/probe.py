"""A network held still on one batch: its gradients, and its losses with a weight replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qbench.datasets.streams import stream
from qbench.diagnostics.precision import full_precision
from qbench.diagnostics.prefix import cached_prefix
from qbench.models.batch_norm import with_batch_statistics
from qbench.models.layers import Mode, QuantLayer, quantized_layers, set_mode
from qbench.quantizers.contract import Quantizer

__all__ = ["LayerGradients", "Probe", "Suffix", "latent_gradient"]


@dataclass(frozen=True)
class LayerGradients:
    """What training sees of one layer's weight; all of the weight's shape."""

    used: Tensor
    """W~, the value that the training forward computes with."""
    at_used: Tensor
    """gamma = dL/dW~, of the mean loss of the batch."""
    latent: Tensor
    """g, what the method takes for dL/dtheta, before an optimizer turns it into a step."""


class Probe:
    """A network and the diagnostic batch, for as long as the network stands still.

    Everything is computed with batch norm on the statistics of the batch, dropout off, and
    quantizers as in training or as deployed. Use it inside :meth:`undisturbed`.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        label_smoothing: float = 0.0,
    ) -> None:
        """Keep the network, which is not changed.

        Args:
            model: The network with its quantized layers.
            images: ``[batch, channels, height, width]``, normalised.
            labels: ``[batch]``.
            seed: Of directions and flip sets, the same for networks that are to be compared.
            label_smoothing: That of the training loss.
        """
        self.model, self.images, self.labels, self.seed = model, images, labels, seed
        self.label_smoothing = label_smoothing
        self.layers: dict[str, QuantLayer] = quantized_layers(model)
        self.kept: dict[str, object] = {}
        """What one diagnostic computes and another needs."""
        self.order = {name: index for index, name in enumerate(self.layers)}

    def random(self, purpose: str, layer: str = "", *counters: int) -> np.random.Generator:
        """Random numbers that depend on the seed, the layer's place and the purpose alone."""
        return stream(self.seed, f"diagnostics {purpose}", self.order.get(layer, 0), *counters)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Evaluate inside; afterwards buffers, modes and random state are bit for bit as before."""
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        modes = [(layer, layer.mode) for layer in self.layers.values()]
        devices = {p.device for p in self.model.parameters() if p.device.type == "cuda"}
        with (
            torch.random.fork_rng(list(devices)),
            with_batch_statistics(self.model),
            full_precision(),
        ):
            for part in self.model.modules():
                if isinstance(part, Quantizer):
                    part.train()  # so that a training forward is the one that training sees
            torch.manual_seed(self.seed)
            try:
                yield
            finally:
                with torch.no_grad():
                    for buffer, before in buffers:
                        buffer.copy_(before)
                for layer, mode in modes:
                    layer.mode = mode
                    layer.fixed_weight = None

    @cached_property
    def deployed(self) -> dict[str, Tensor]:
        """The deployed weight of each layer whose weight is quantized."""
        with torch.no_grad():
            return {
                name: layer.weight_quantizer.deployed(layer.weight)
                for name, layer in self.layers.items()
                if layer.weight_quantizer is not None
            }

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """W~ of each layer whose weight is quantized, the value that training computes with."""
        with torch.no_grad():
            return {
                name: layer.weight_quantizer(layer.weight).detach()  # may be the Parameter itself
                for name, layer in self.layers.items()
                if layer.weight_quantizer is not None
            }

    @cached_property
    def gradients(self) -> dict[str, LayerGradients]:
        """The training forward and backward, of each layer whose weight is quantized."""
        values: dict[str, Tensor] = {}
        leaves: list[Tensor] = []
        for name, layer in self.layers.items():
            if layer.weight_quantizer is not None:
                values[name] = layer.weight_quantizer(layer.weight)
                leaves.append(values[name].detach().requires_grad_())
                layer.fixed_weight = leaves[-1]
        if not leaves:
            return {}
        try:
            at_used = torch.autograd.grad(self._losses("training").mean(), leaves)
        finally:
            self._release()
        found = {}
        for (name, value), gradient in zip(values.items(), at_used, strict=True):
            layer = self.layers[name]
            latent = latent_gradient(layer, gradient, value)
            found[name] = LayerGradients(value.detach(), gradient, latent)
        return found

    def losses(self, mode: Mode) -> Tensor:
        """The loss of each image ``[batch]``, float32, without gradients."""
        with torch.no_grad(), self._fixed(mode):
            return self._losses(mode)

    @contextmanager
    def suffix(
        self, name: str, mode: Literal["deployed", "training"] = "deployed"
    ) -> Iterator["Suffix"]:
        """The network with one layer's weight to be replaced, all else as the mode has it.

        What lies before the layer is computed once. Inside, use nothing else of the probe that
        computes with the network.
        """
        with torch.no_grad(), self._fixed(mode):
            set_mode(self.model, mode)
            with cached_prefix(self.model, self.layers[name], self.images):
                yield Suffix(self, name, mode)

    @contextmanager
    def _fixed(self, mode: Mode) -> Iterator[None]:
        """Weights quantized once."""
        hard = mode in ("deployed", "deployed_weight")
        for name, weight in (self.deployed if hard else self.trained).items():
            self.layers[name].fixed_weight = weight
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        for layer in self.layers.values():
            layer.fixed_weight = None

    def _losses(self, mode: Mode) -> Tensor:
        set_mode(self.model, mode)
        return self.forward_losses()

    def forward_losses(self) -> Tensor:
        """The loss of each image ``[batch]`` as the network stands."""
        return cross_entropy(
            self.model(self.images),
            self.labels,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )


class Suffix:
    """Losses of a network as a function of one layer's weight; made by a probe."""

    def __init__(
        self, probe: Probe, name: str, mode: Literal["deployed", "training"] = "deployed"
    ) -> None:
        """Compute the losses at the weight that the mode computes with."""
        self._probe, self._layer = probe, probe.layers[name]
        self.weight = (probe.deployed if mode == "deployed" else probe.trained)[name]
        """The deployed weight, or W~."""
        self.base = self.losses(self.weight)
        """The loss of each image ``[batch]`` at that weight."""

    def losses(self, weight: Tensor) -> Tensor:
        """The loss of each image ``[batch]``, float32, with ``weight`` in the layer."""
        self._layer.fixed_weight = weight
        return self._probe.forward_losses()

    def loss(self, weight: Tensor) -> Tensor:
        """Mean loss less that at :attr:`weight`: paired by image, averaged in float64."""
        return (self.losses(weight) - self.base).double().mean()

    def gradient(self, weight: Tensor) -> Tensor:
        """dL/dW of the mean loss, by backpropagation as in training, at ``weight`` in the layer."""
        leaf = weight.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self.losses(leaf).mean(), leaf)
        return found


def latent_gradient(layer: QuantLayer, gradient: Tensor, value: Tensor | None = None) -> Tensor:
    """What the layer's method makes of dL/dW~, of the weight's shape.

    Args:
        layer: A layer whose weight is quantized.
        gradient: dL/dW~, or another tensor of that shape.
        value: W~ with its graph, if it is at hand.
    """
    quantizer = layer.weight_quantizer
    if quantizer is None or not isinstance(layer.weight, nn.Parameter):
        raise TypeError("the layer has no quantized weight of its own")
    value = quantizer(layer.weight) if value is None else value
    latent = None
    # A method may let the weight stand still for a while, and a user may freeze it.
    if value.requires_grad and layer.weight.requires_grad:
        (latent,) = torch.autograd.grad(value, layer.weight, gradient, allow_unused=True)
    latent = torch.zeros_like(layer.weight) if latent is None else latent
    with torch.no_grad():
        return quantizer.latent_gradient(layer.weight, latent)
