"""What a method on top of another one has in common: all but the addition is the host's."""

from collections.abc import Hashable, Sequence
from typing import Self

from torch import Tensor, nn

from qbench.quantizers.adabin import AdaBin
from qbench.quantizers.binaryconnect import BinaryConnect
from qbench.quantizers.bireal import BiReal
from qbench.quantizers.bnn import BNN
from qbench.quantizers.bwn import BWN
from qbench.quantizers.contract import ParameterGroup, Progress, Quantizer
from qbench.quantizers.daq import DAQ
from qbench.quantizers.dorefa import DoReFa
from qbench.quantizers.irnet import IRNet
from qbench.quantizers.reactnet import ReActNet
from qbench.quantizers.reste import ReSTE
from qbench.quantizers.siman import SiMaN
from qbench.quantizers.ste import STE
from qbench.quantizers.xnor import XNOR

__all__ = ["BINARY_HOSTS", "Hosted"]

BINARY_HOSTS: dict[str, type[Quantizer]] = {
    "adabin": AdaBin, "binaryconnect": BinaryConnect, "bireal": BiReal, "bnn": BNN, "bwn": BWN,
    "daq": DAQ, "dorefa": DoReFa, "irnet": IRNet, "reactnet": ReActNet, "reste": ReSTE,
    "siman": SiMaN, "ste": STE, "xnor": XNOR,
}  # fmt: skip
"""Methods of 1-bit weights whose latent weight the recipe's optimizer moves, so that it follows a
term of the loss. They are imported here, so that a trial's fingerprint has their code."""


class Hosted(Quantizer):
    """A quantizer that does what its :attr:`host` does."""

    host: Quantizer

    def take(self, host: Quantizer) -> None:
        """Make ``host`` the one to do the work, and its facts those of this instance."""
        self.host = host
        self.trains_hard, self.exact_at_end = host.trains_hard, host.exact_at_end

    @property
    def levels(self) -> int:
        """The host's."""
        return self.host.levels

    @property
    def structure(self) -> Hashable:
        """The host's."""
        return self.host.structure

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Connect the hosts, which are all of one method."""
        hosts = [quantizer.host for quantizer in quantizers]
        type(hosts[0]).connect(hosts)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Start the host."""
        self.host.initialize(x, layer, inputs)

    def set_progress(self, progress: Progress) -> None:
        """Set the host's schedules."""
        self.host.set_progress(progress)

    def forward(self, x: Tensor) -> Tensor:
        """The host's value."""
        value: Tensor = self.host(x)
        return value

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The host's codes and levels."""
        return self.host.codes(x)

    def penalty(self, x: Tensor) -> Tensor | None:
        """The host's."""
        return self.host.penalty(x)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The host's."""
        return self.host.parameter_groups()

    def after_backward(self, weight: nn.Parameter) -> None:
        """What the host does."""
        self.host.after_backward(weight)

    def after_step(self, weight: nn.Parameter) -> None:
        """What the host does."""
        self.host.after_step(weight)

    def latent_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """The host's."""
        return self.host.latent_gradient(weight, gradient)

    def readings(self) -> dict[str, Tensor]:
        """The host's."""
        return self.host.readings()
