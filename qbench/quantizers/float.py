"""No quantization: the network that every drop in accuracy is measured from."""

import torch
from torch import Tensor

from qbench.quantizers.contract import Quantizer
from qbench.registry import quantizers

__all__ = ["Float"]


@quantizers.register("float")
class Float(Quantizer):
    """The float network itself, for reference.

    forward    q = x
    backward   dq/dx = 1
    shapes     x any
    cost       none: a study's float trials have no quantized layers
    """

    bits = {"weight": (32,), "activation": (32,)}
    family = "reference"

    def forward(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One code for each distinct value."""
        codebook, codes = torch.unique(x.detach(), return_inverse=True)
        return codes, codebook
