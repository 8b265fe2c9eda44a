"""One layer's step in MetaQuant: the meta network's estimate, refined, moves the weight."""

from typing import Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.meta_bases import Base
from qbench.quantizers.meta_networks import CollapsedTrace, FullTrace, MetaNetwork

__all__ = ["MetaStep", "Refinement"]

MOMENTUM = 0.9
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Refinement(nn.Module):
    """The direction that an optimizer would step in, times its learning rate; one layer's state."""

    first: Tensor
    second: Tensor
    steps: Tensor

    def __init__(
        self, kind: Literal["sgd", "momentum", "adam"], weight_decay: float, weight: Tensor
    ) -> None:
        """Start without history.

        Args:
            kind: ``sgd`` keeps the gradient; momentum is 0.9; Adam has 0.9, 0.999 and 1e-8.
            weight_decay: L2, added to the gradient before its moments (coupled).
            weight: The layer's weight.
        """
        super().__init__()
        self.kind = kind
        self.weight_decay = weight_decay
        if kind != "sgd":
            self.register_buffer("first", torch.zeros_like(weight))
        if kind == "adam":
            self.register_buffer("second", torch.zeros_like(weight))
            self.register_buffer("steps", weight.new_zeros(()))

    def forward(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """The direction for one step; the history takes ``gradient`` in."""
        if self.weight_decay:
            gradient = gradient.add(weight, alpha=self.weight_decay)
        if self.kind == "sgd":
            return gradient
        if self.kind == "momentum":
            return self.first.mul_(MOMENTUM).add_(gradient)
        self.steps.add_(1)
        self.first.lerp_(gradient, 1 - BETAS[0])
        self.second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        mean = self.first / (1 - BETAS[0] ** self.steps)
        spread = (self.second / (1 - BETAS[1] ** self.steps)).sqrt_()
        return mean.div_(spread.add_(EPSILON))


class MetaStep(nn.Module):
    """What moves one layer's weight, and what it remembers from one step to the next."""

    offset: Tensor
    last_move: Tensor

    def __init__(
        self,
        weight: Tensor,
        base: Base,
        network: MetaNetwork,
        refinement: Refinement,
        *,
        released: bool,
        phi_path: Literal["ste", "meta"],
    ) -> None:
        """Start without history.

        Args:
            weight: The layer's latent weight.
            base: The forward quantizer.
            network: The meta network that all layers share; not a part of this module.
            refinement: What makes a direction of an estimate.
            released: The published code's order of things.
            phi_path: Whose d loss/d w trains the network.
        """
        super().__init__()
        self.base, self.released, self.phi_path = base, released, phi_path
        self.refinement = refinement
        self.trace = (CollapsedTrace if network.collapses else FullTrace)(network, weight)
        if released:
            self.register_buffer("offset", torch.zeros_like(weight))
            self.register_buffer("last_move", torch.zeros_like(weight))
        self._prepared: tuple[Tensor, Tensor] | None = None

    def point(self, weight: Tensor) -> Tensor:
        """Where the training forward stands: the weight, or the published code's look-ahead."""
        return weight - self.offset if self.released else weight

    def estimate(self, network: MetaNetwork, gradient: Tensor, weight: Tensor) -> Tensor:
        """What the network makes of d loss/d (rounded weight); remembers nothing."""
        point = self.point(weight)
        return self.trace.value(network, *_terms(network, gradient, *self.base.prepare(point)))

    def teach(self, network: MetaNetwork, gradient: Tensor, weight: Tensor, first: bool) -> None:
        """Give the network its gradient: what its last estimate did to the loss.

        Args:
            network: The meta network, as it was at that estimate.
            gradient: d loss/d (rounded weight).
            weight: The latent weight of that loss.
            first: Whether no estimate has been made yet.
        """
        point = self.point(weight)
        unit, cal = self._prepared = self.base.prepare(point)
        if first:
            return
        if self.phi_path == "ste":
            slope = self.base.straight_through(gradient, point, cal)
        else:
            slope = self.trace.value(network, *_terms(network, gradient, unit, cal))
        self.trace.teach(network, slope)

    def move(self, network: MetaNetwork, gradient: Tensor, weight: Tensor, first: bool) -> None:
        """Move the weight, in place, by what the network makes of its gradient; after ``teach``."""
        unit, cal = self._prepared or self.base.prepare(self.point(weight))
        if self.released:
            cal = self.base.prepare(weight)[1]
            if first:  # the published code's second forward looks along the straight-through step
                straight = self.base.straight_through(gradient, weight, cal)
                self.last_move.copy_(network.rate * straight)
        estimate = self.trace.move(network, *_terms(network, gradient, unit, cal))
        step = self.refinement(estimate, weight) * network.rate
        weight.sub_(step)
        if self.released:
            torch.sub(self.last_move, step, out=self.offset)
            self.last_move.copy_(step)
        self._prepared = None


def _terms(
    network: MetaNetwork, gradient: Tensor, unit: Tensor, cal: Tensor
) -> tuple[Tensor, Tensor]:
    """The input of f and the factor of its value."""
    return (unit, cal * gradient) if network.gated else (gradient, cal)
