"""torchao's fake quantizers, as the library ships them, under the same trainer and measures."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.quantizers.adapted import Adapted, Rounded, library
from qbench.quantizers.contract import Target
from qbench.registry import quantizers

__all__ = ["TorchAO"]


@quantizers.register("torchao/*")
class TorchAO(Adapted):
    """torchao's fake quantizers: ``intx_symmetric``, ``intx_range_learning``, ``int4_weight``.

    The library of PyTorch; ``int4_weight`` is what its ``Int4WeightOnlyConfig`` trains.

    forward    weights, one scale a channel: q = scale * clip(round(w / scale), -2^(k-1),
               2^(k-1) - 1), scale = 2 max|w| / (2^k - 1) (intx_symmetric) or trained
               (intx_range_learning); 16 even levels from min w to max w (int4_weight)
               activations, one scale and zero point of the first batch; the scale is fixed
               (intx_symmetric) or trained (intx_range_learning)
    backward   through round: 1; a trained scale by autograd; int4_weight also through min and max
    shapes     scale and zero [channels, 1] of weights, [1] of activations
    start      activations: the range of the first batch, with 0 inside; trained scales: what an
               untrained one would be
    schedule   none
    deviates   |scale| of a trained one is used, at least 1e-8, as nothing in the library keeps it
               from 0; zero points are not trained, as a fraction would add a level; a group is a
               whole channel, as smaller ones are no codebook a channel; convolutions, which the
               library leaves out of its training, are matrices of one row a channel
    """

    bits = {}
    members = {
        "intx_symmetric": {
            "weight": (2, 3, 4, 5, 6, 7, 8),
            "activation": (2, 3, 4, 5, 6, 7, 8),
        },
        "intx_range_learning": {
            "weight": (2, 3, 4, 5, 6, 7, 8),
            "activation": (2, 3, 4, 5, 6, 7, 8),
        },
        "int4_weight": {"weight": (4,)},
    }
    paper = "https://docs.pytorch.org/ao/stable/"
    requires = "torchao"

    scale: Tensor | None
    zero: Tensor | None

    def __init__(self, *, bit_width: int, target: Target) -> None:
        """Make the library's fake quantizer of one tensor."""
        super().__init__(bit_width=bit_width, target=target)
        self.lowest = -(2 ** (bit_width - 1))
        self.learns = self.config == "intx_range_learning"
        self.dynamic = target == "weight" and not self.learns
        self.register_buffer("zero", None)
        self.register_buffer("scale", None)
        if target == "activation":  # of known shape, so that a deployed network can be loaded
            self._keep(torch.ones(1), torch.zeros(1, dtype=torch.int32))
        # In a tuple, as it is no part of this module: it has no state but what a forward leaves.
        self.fake = (self._fake_quantizer(dynamic=self.dynamic),)

    def _fake_quantizer(self, *, dynamic: bool) -> Any:
        configs = library("torchao.quantization.qat.fake_quantize_config")
        kinds = library("torchao.quantization.qat.fake_quantizer")
        if self.config == "int4_weight":
            config = configs.Int4WeightFakeQuantizeConfig(activation_dtype=torch.bfloat16)
        else:
            config = configs.IntxFakeQuantizeConfig(
                getattr(torch, f"int{self.bit_width}"),
                "per_channel" if self.target == "weight" else "per_token",  # all of x is one token
                is_symmetric=self.target == "weight",
                is_dynamic=dynamic,
                range_learning=self.learns and not dynamic,
            )
        return kinds.FakeQuantizerBase.from_config(config)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Take scale and zero point of an untrained quantizer, where they are kept."""
        if self.dynamic:
            return
        untrained = self._fake_quantizer(dynamic=True)
        untrained(self._rows(x.detach()))
        self._keep(untrained.scale, untrained.zero_point)

    def _keep(self, scale: Tensor, zero: Tensor) -> None:
        self.zero = zero
        if self.learns:
            del self.scale
            self.scale = nn.Parameter(scale)
        else:
            self.scale = scale

    def rounded(self, x: Tensor) -> Rounded:
        """The library's value, and the scale and zero point that it took."""
        (fake,) = self.fake
        rows = self._rows(x)
        if self.config == "int4_weight":
            return self._four_bits(fake, rows, x)
        if self.scale is not None:
            fake.scale = self.scale.abs().clamp_min(1e-8) if self.learns else self.scale
            fake.zero_point = self.zero
        value = fake(rows).view(x.shape)
        found = Rounded(value, fake.scale, fake.zero_point)
        fake.scale = fake.zero_point = None  # a graph that is kept could not be copied
        return found

    def _four_bits(self, fake: Any, rows: Tensor, x: Tensor) -> Rounded:
        """As the library, which tells neither scale nor offset: 0 is 8 steps above the least."""
        fake.config.group_size = rows.shape[1]
        least, most = (part.detach() for part in rows.aminmax(dim=1))
        scale = (most - least).clamp_min(1e-6) / 15
        return Rounded(fake(rows).view(x.shape), scale, torch.zeros_like(scale), least + scale * 8)

    def _rows(self, x: Tensor) -> Tensor:
        return x.flatten(1) if self.target == "weight" else x.reshape(1, -1)
