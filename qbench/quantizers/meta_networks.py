"""MetaQuant's meta networks, and what a layer remembers between its step and the next gradient.

A meta network is a function f of one number, the same for every weight of every layer. With the
gradient g of the quantized weight and the pre-quantized weight u, the gradient that moves a weight
is ``scale * f(input)``: ``input = g`` and ``scale = cal`` (fcgrad), or ``input = u`` and
``scale = cal * g`` (multifc, lstmfc); cal is the slope of u.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from qbench.errors import UsageError

__all__ = ["CollapsedTrace", "FullTrace", "MetaNetwork"]

CHUNK = 65_536
"""Weights that pass a full network at once, which bounds the memory of its hidden values."""


class MetaNetwork(nn.Module):
    """The network that all layers share.

    Without biases a network of linear layers is one number, ``f(z) = c z``, and one with ReLUs two,
    ``f(z) = c+ relu(z) + c- relu(-z)``: such a network *collapses* to its values at 1 and -1.
    """

    rate: Tensor
    moved_rate: Tensor
    probes: Tensor

    def __init__(
        self,
        kind: Literal["fcgrad", "multifc", "lstmfc"],
        hidden: int,
        depth: int,
        activation: Literal["none", "relu", "tanh"],
        initial: Literal["default", "unit"],
    ) -> None:
        """Draw the network from torch's generator.

        Args:
            kind: ``lstmfc`` is an LSTM and a linear layer, the others are ``depth`` linear layers.
            hidden: Units of a hidden layer.
            depth: Linear layers; not of ``lstmfc``.
            activation: Between linear layers.
            initial: ``default`` is PyTorch's; ``unit`` starts from ``f(z) = z`` (without an
                activation; ReLU: for z > 0; tanh: near 0), ``lstmfc`` from ``f = 1``.

        Raises:
            UsageError: A size is not positive.
        """
        super().__init__()
        if min(hidden, depth) < 1:
            raise UsageError(
                f"a meta network cannot have hidden={hidden} and depth={depth}; both are at least 1"
            )
        self.gated = kind != "fcgrad"
        self.lstm = nn.LSTM(1, hidden) if kind == "lstmfc" else None
        widths = [hidden, 1] if kind == "lstmfc" else [1, *[hidden] * (depth - 1), 1]
        parts: list[nn.Module] = []
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            parts.append(nn.Linear(inputs, outputs, bias=kind == "lstmfc"))
            parts.append({"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh}[activation]())
        self.layers = nn.Sequential(*parts[:-1])
        if initial == "unit":
            self._start_from_one()
        self.collapses = self.lstm is None and activation != "tanh"
        self.slopes = 2 if activation == "relu" else 1
        self.register_buffer("probes", torch.tensor([[1.0], [-1.0]])[: self.slopes])
        self.register_buffer("rate", torch.zeros(()))
        self.register_buffer("moved_rate", torch.zeros(()))
        self.members = 0
        self._collected: list[Tensor] = []
        self._known: Tensor | None = None

    @torch.no_grad()
    def _start_from_one(self) -> None:
        linear = [part for part in self.layers if isinstance(part, nn.Linear)]
        for part in linear[:-1]:
            part.weight.fill_(1 / part.out_features)
        linear[-1].weight.fill_(1.0)
        if self.lstm is not None:
            linear[-1].weight.zero_()
            linear[-1].bias.fill_(1.0)

    def forward(
        self, z: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The value of f for ``z [N]`` and the LSTM's state, two tensors ``[1, N, hidden]``.

        Returns:
            ``f(z) [N]`` and the new state.
        """
        values = z.unsqueeze(1)
        if self.lstm is not None:
            output, state = self.lstm(values.unsqueeze(0), state)
            values = output.squeeze(0)
        found: Tensor = self.layers(values)
        return found.squeeze(1), state

    def features(self, z: Tensor) -> Tensor:
        """``[slopes, …]``: what a collapsed network is linear in."""
        return z.unsqueeze(0) if self.slopes == 1 else torch.stack((z.relu(), (-z).relu()))

    def gains(self) -> Tensor:
        """``[slopes]``: c, or c+ and c-, of a collapsed network; differentiable."""
        return self(self.probes.squeeze(1))[0]  # type: ignore[no-any-return]

    def known_gains(self) -> Tensor:
        """:meth:`gains` without a graph, computed once between two gradients."""
        if self._known is None:
            self._known = self.gains().detach()
        return self._known

    def collect(self, slopes: Tensor) -> None:
        """Add one layer's slopes in the gains, over -rate; the last layer's call passes them on."""
        self._known = None
        self._collected.append(slopes)
        if len(self._collected) == self.members:
            total = torch.stack(self._collected).sum(0)
            self._collected = []
            with torch.enable_grad():
                gains = self.gains()
            gains.backward(-self.moved_rate * total)  # type: ignore[no-untyped-call]


class CollapsedTrace(nn.Module):
    """One layer's memory with a network that collapses: a few kernels, and no hidden values."""

    direction: Tensor

    def __init__(self, network: MetaNetwork, weight: Tensor) -> None:
        """Remember nothing yet about ``weight``."""
        super().__init__()
        parts = [torch.zeros_like(weight) for _ in range(network.slopes)]
        direction = parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
        self.register_buffer("direction", direction)
        self._axes = tuple(range(1, direction.ndim))

    def value(self, network: MetaNetwork, z: Tensor, scale: Tensor) -> Tensor:
        """``scale * f(z)``, remembering nothing."""
        return self._apply_gains(network, network.features(z) * scale)

    def move(self, network: MetaNetwork, z: Tensor, scale: Tensor) -> Tensor:
        """``scale * f(z)``, remembered until the next gradient arrives."""
        torch.mul(network.features(z), scale, out=self.direction)
        return self._apply_gains(network, self.direction)

    @staticmethod
    def _apply_gains(network: MetaNetwork, direction: Tensor) -> Tensor:
        gains = network.known_gains()
        if network.slopes == 1:
            return direction[0] * gains
        estimate: Tensor = torch.tensordot(gains, direction, dims=1)
        return estimate

    def teach(self, network: MetaNetwork, slope: Tensor) -> None:
        """Give the network its gradient: ``slope`` is d loss/d w, after w's last move."""
        network.collect((self.direction * slope).sum(self._axes))


class FullTrace(nn.Module):
    """One layer's memory with any network, in chunks of weights; the state of an LSTM is a part."""

    inputs: Tensor
    scale: Tensor
    gain: Tensor
    hidden: Tensor | None
    cell: Tensor | None

    def __init__(self, network: MetaNetwork, weight: Tensor) -> None:
        """Remember nothing yet about ``weight``."""
        super().__init__()
        self.register_buffer("inputs", torch.zeros_like(weight))
        self.register_buffer("scale", torch.zeros_like(weight))
        self.register_buffer("gain", weight.new_zeros(()))
        size = 0 if network.lstm is None else network.lstm.hidden_size
        for name in ("hidden", "cell"):
            state = weight.new_zeros(1, weight.numel(), size) if size else None
            self.register_buffer(name, state)

    def _state(self, start: int, stop: int) -> tuple[Tensor, Tensor] | None:
        if self.hidden is None or self.cell is None:
            return None
        return self.hidden[:, start:stop], self.cell[:, start:stop]

    def value(self, network: MetaNetwork, z: Tensor, scale: Tensor) -> Tensor:
        """``scale * f(z)``, remembering nothing."""
        return scale * self._function(network, z)

    def _function(self, network: MetaNetwork, z: Tensor) -> Tensor:
        found = [
            network(part, self._state(index * CHUNK, (index + 1) * CHUNK))[0]
            for index, part in enumerate(torch.split(z.flatten(), CHUNK))
        ]
        return torch.cat(found).view(z.shape)

    def move(self, network: MetaNetwork, z: Tensor, scale: Tensor) -> Tensor:
        """``scale * f(z)``, remembered until the next gradient arrives."""
        self.inputs.copy_(z)
        self.scale.copy_(scale)
        found = self._function(network, z)
        fitted = (found * z).sum() / z.square().sum().clamp_min(torch.finfo(z.dtype).tiny)
        self.gain.copy_(found.mean() if network.gated else fitted)
        return self.scale * found

    def teach(self, network: MetaNetwork, slope: Tensor) -> None:
        """Give the network its gradient: ``slope`` is d loss/d w, after w's last move.

        The function is computed again, with a graph; the parameters are still those of the move.
        """
        cotangent = -network.moved_rate * self.scale * slope
        parts = [torch.split(part.flatten(), CHUNK) for part in (self.inputs, cotangent)]
        for index, (z, weighting) in enumerate(zip(*parts, strict=True)):
            state = self._state(index * CHUNK, (index + 1) * CHUNK)
            with torch.enable_grad():
                found, after = network(z, state)
            found.backward(weighting)
            if state is not None and after is not None:
                for kept, new in zip(state, after, strict=True):
                    kept.copy_(new.detach())
