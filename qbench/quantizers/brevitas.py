"""Brevitas' quantizers, as the library ships them, under the same trainer and measures."""

from typing import Any

import torch
from torch import Tensor, nn

from qbench.quantizers.adapted import Adapted, Rounded, library
from qbench.quantizers.contract import Target
from qbench.registry import quantizers

__all__ = ["Brevitas"]

_COLLECTED = 2
"""Steps after which the range of the first batch is a parameter."""


@quantizers.register("brevitas/*")
class Brevitas(Adapted):
    """Brevitas' quantizers by their names, such as ``Int8WeightPerChannelFloat``, in any bits.

    The library of AMD (Xilinx), by Pappalardo; a name's 8 is the library's default, and the bits
    are those of the study. Weights and activations have quantizers of their own: name one for each.

    forward    Int8Weight…: scale * clip(round(w / scale), -n, n), n = 2^(k-1) - 1, of k bits
               2^k - 1 levels; scale = max|w| / n of the tensor or the channel
               ShiftedUint8…: all 2^k integers, with a zero point
               …FixedPoint: the scale is the next higher power of two
               Int8Act…, Uint8Act…: scale * clip(round(x / scale), …), signed or from 0; trained
               SignedBinary…, SignedTernary…: 0.1 sign(w), 0.1 {-1, 0, 1}; of activations sign(x),
               {-1, 0, 1}; sign(0) = +1
    backward   through round: 1 inside the range, and through the scale's max|w| by autograd;
               binary and ternary: 1 of weights, 1[|x| <= 1] of activations
    shapes     scale of weights [channels, 1, …] or none, of activations none
    start      an activation's range is a percentile, 99.999, of the first batch
    schedule   none
    deviates   the library collects an activation's range in 300 steps before it trains it, here in
               one; it clips binary latents to [-0.1, 0.1] in the forward, here after the start and
               after each step
    """

    bits = {}
    members = {
        "Int8WeightPerTensorFloat": {"weight": (2, 3, 4, 5, 6, 7, 8)},
        "Int8WeightPerChannelFloat": {"weight": (2, 3, 4, 5, 6, 7, 8)},
        "Int8WeightPerTensorFixedPoint": {"weight": (2, 3, 4, 5, 6, 7, 8)},
        "ShiftedUint8WeightPerTensorFloat": {"weight": (2, 3, 4, 5, 6, 7, 8)},
        "ShiftedUint8WeightPerChannelFloat": {"weight": (2, 3, 4, 5, 6, 7, 8)},
        "SignedBinaryWeightPerTensorConst": {"weight": (1,)},
        "SignedTernaryWeightPerTensorConst": {"weight": (2,)},
        "Int8ActPerTensorFloat": {"activation": (2, 3, 4, 5, 6, 7, 8)},
        "Int8ActPerTensorFixedPoint": {"activation": (2, 3, 4, 5, 6, 7, 8)},
        "Uint8ActPerTensorFloat": {"activation": (2, 3, 4, 5, 6, 7, 8)},
        "Uint8ActPerTensorFixedPoint": {"activation": (2, 3, 4, 5, 6, 7, 8)},
        "ShiftedUint8ActPerTensorFloat": {"activation": (2, 3, 4, 5, 6, 7, 8)},
        "SignedBinaryActPerTensorConst": {"activation": (1,)},
        "SignedTernaryActPerTensorConst": {"activation": (2,)},
    }
    paper = "https://github.com/Xilinx/brevitas"
    requires = "brevitas"

    count: int

    def __init__(self, *, bit_width: int, target: Target) -> None:
        """Make the library's quantizer of an activation; a weight's is made for its layer."""
        super().__init__(bit_width=bit_width, target=target)
        binary, ternary = (f"Signed{word}" in self.config for word in ("Binary", "Ternary"))
        unsigned = "Uint8" in self.config
        narrow = binary or ternary or self.config.startswith("Int8Weight")
        self.clips = binary and target == "weight"
        self.stride = 2 if binary else 1
        self.lowest = 0 if unsigned else -max(2 ** (bit_width - 1) - narrow, 1)
        self.count = 2**bit_width - (narrow and not binary)
        self.inner: Any = None
        if target == "activation":
            self.inner = self._tensor_quant(nn.Identity()).eval()
            self._count(_COLLECTED)  # else the library leaves its parameters out of a state

    @property
    def levels(self) -> int:
        """One less than the bits could hold, where the range is narrow."""
        return self.count

    def _tensor_quant(self, layer: nn.Module) -> Any:
        """The library's module that maps a tensor to value, scale, zero point and bits."""
        kind = getattr(library("brevitas.quant"), self.config)
        if "Const" not in self.config:
            kind = kind.let(bit_width=self.bit_width)
        if "Act" in self.config and "Const" not in self.config:
            kind = kind.let(collect_stats_steps=1)
        if self.clips:
            clamp = library("brevitas.core.function_wrapper").TensorClampSte
            kind = kind.let(tensor_clamp_impl=clamp)
        proxy = kind.proxy_class(layer, kind)
        if self.target == "weight":
            return proxy.tensor_quant
        return proxy.fused_activation_quant_proxy.tensor_quant

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Make a weight's quantizer for its shape; let an activation's see its first batch."""
        if self.target == "weight":
            self.inner = self._tensor_quant(_Layer(x)).to(x.device)
            self._clip(x)
        else:
            self.inner.train()
            self._count(0)
            for _ in range(_COLLECTED):  # collects the range, then makes it the parameter
                self.inner(x)
        self.inner.eval()

    def _count(self, steps: int) -> None:
        """Let the library take it that so many steps are done."""
        for part in self.inner.modules():
            if hasattr(part, "counter"):
                part.counter = steps

    def train(self, mode: bool = True) -> "Brevitas":
        """Training or evaluation; the library's module has seen its batch and collects no more."""
        super().train(mode)
        if self.inner is not None:
            self.inner.eval()
        return self

    def rounded(self, x: Tensor) -> Rounded:
        """The library's value, scale and zero point."""
        value, scale, zero, _ = self.inner(x)
        return Rounded(value, scale, zero)

    def after_step(self, weight: nn.Parameter) -> None:
        """Clip the latents of the binary quantizer to its levels."""
        self._clip(weight)

    def _clip(self, weight: Tensor) -> None:
        if self.clips:
            with torch.no_grad():
                weight.clamp_(-0.1, 0.1)  # the library's constant scale


class _Layer(nn.Module):
    """What the library asks a layer for: a weight whose first axis is that of the output."""

    output_channel_dim = 0

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.out_channels = len(weight)
