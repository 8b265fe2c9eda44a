"""What a diagnostic gets, and what it yields."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["Diagnostic", "Measurement", "Reading"]


class Reading(NamedTuple):
    """One measured number."""

    layer: str
    """The layer's dotted name; empty for the network as a whole."""
    name: str
    value: Tensor
    """0-dim, on any device; all readings of a measurement are brought to the host at once."""


@dataclass(frozen=True)
class Measurement:
    """A network at one moment of its training."""

    model: nn.Module
    """In training mode, as the last step left it; to be left so."""
    epoch: int
    """Epochs done."""
    held_out: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    """Batches of validation images, or of training images where none are held out."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What diagnostics keep from one measurement to the next; saved in the checkpoint."""


Diagnostic = Callable[[Measurement], Iterator[Reading]]
