"""What a diagnostic gets, and what it yields.

A diagnostic is a function of a :class:`Measurement` that yields :class:`Reading` and
:class:`Points`; its keyword-only arguments are its options in a study file. Names of readings are
grouped by a slash and are the same for every quantizer; a name that ends in ``_se`` is the standard
error of the name without it. A value of a layer stands alone; of the network it is the mean of the
layers unless the diagnostic yields the network's value itself. What is not defined for a quantizer
is not yielded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from qbench.diagnostics.probe import Probe
from qbench.models.layers import QuantLayer
from qbench.quantizers.contract import Quantizer

__all__ = ["Diagnostic", "Measurement", "Points", "Reading"]


class Reading(NamedTuple):
    """One measured number."""

    layer: str
    """The layer's dotted name; empty for the network as a whole."""
    name: str
    value: Tensor
    """0-dim, on any device; all readings of a measurement are brought to the host at once."""


class Points(NamedTuple):
    """Pairs of measured numbers, for a scatter or a curve."""

    layer: str
    name: str
    x: Tensor
    """``[n]``."""
    y: Tensor
    """``[n]``."""


@dataclass(frozen=True)
class Measurement:
    """A network at one moment of its training."""

    probe: Probe
    """The network and the diagnostic batch; it keeps what several diagnostics need."""
    epoch: int
    """Epochs done."""
    layers: tuple[str, ...]
    """The quantized layers to look at, in order."""
    held_out: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    """Batches of validation images, or of training images where none are held out."""
    training: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    """Batches of training images of the recipe's size, without augmentation, in a fixed order."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What is kept from one measurement to the next; saved in the checkpoint."""

    def weights(self) -> Iterator[tuple[str, QuantLayer, Quantizer]]:
        """Those of the layers whose weight is quantized: name, layer, the weight's quantizer."""
        for name in self.layers:
            layer = self.probe.layers[name]
            if layer.weight_quantizer is not None:
                yield name, layer, layer.weight_quantizer


Diagnostic = Callable[[Measurement], Iterator[Reading | Points]]
