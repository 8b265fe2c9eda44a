"""All that a training step changes, kept and put back in place."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Snapshot"]

ROUNDING = 1e-6
"""The change, relative to a tensor's largest value or to 1, that counts as none."""


class Snapshot:
    """Copies of a network's parameters and buffers, of its optimizers' state, and random states."""

    def __init__(self, model: nn.Module, optimizers: list[Optimizer]) -> None:
        """Copy everything as it stands."""
        self._of = (model, optimizers)
        self._copies = {name: place.clone() for name, place in _tensors(*self._of)}
        self._random = torch.get_rng_state()
        self._random_cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copies into the tensors that stand there now."""
        for name, place in _tensors(*self._of):
            place.copy_(self._copies[name])
        torch.set_rng_state(self._random)
        if self._random_cuda is not None:
            torch.cuda.set_rng_state(self._random_cuda)

    def furthest(self, other: "Snapshot", since: "Snapshot") -> tuple[float, str]:
        """Where two states that came of one differ most.

        Returns:
            The largest difference of a tensor over the largest change that ``other`` made in it
            since then, and the tensor's name. Not finite anywhere but here: infinity.
        """
        found = [(0.0, "")]
        for name, copy in self._copies.items():
            there, first = other._copies[name].double(), since._copies[name].double()
            room = (there - first).abs().max() + ROUNDING * (1 + there.abs().max())
            share = ((copy.double() - there).abs().max() / room).item()
            found.append((share if math.isfinite(share) else math.inf, name))
        return max(found)


def _tensors(model: nn.Module, optimizers: list[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.numel():
            yield name, value
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for kind, value in values.items():
                if isinstance(value, Tensor):
                    yield f"optimizer {number}, {kind} of parameter {index}", value
