"""Negative controls: what a diagnostic must call bad, and what a table must show as bad."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from qbench.quantizers.contract import Target, decode
from qbench.quantizers.functional import with_gradient
from qbench.quantizers.ste import STE
from qbench.registry import quantizers

__all__ = ["NegativeControl"]


class _RandomGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        drawn = torch.randn_like(gradient)
        tiny = torch.finfo(gradient.dtype).tiny
        result: Tensor = drawn * (gradient.norm() / drawn.norm().clamp_min(tiny))
        return result


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


@quantizers.register("negative_control")
class NegativeControl(STE):
    """A control, not a method: rounds as ste does, with a gradient or signs spoiled on purpose.

    forward    that of ste; of random_signs: the level values of ste at codes that were drawn once
    backward   of weights, g = dL/dq:  random_gradient  |g| r / |r|, r normal, fresh at each step;
               negated_gradient  -g;  scaled_gradient  scale * g;  random_signs  g
               of activations that of ste, because what is spoiled there compounds with depth, such
               as to (-1)^n and 10^n
    shapes     x any, drawn codes of the weight's shape
    start      that of ste; random_signs: the codes that ste gives a normal weight of that shape
    schedule   none
    meaning    random_gradient: batch norm and float layers train on wandering codes; random_signs:
               on fixed ones; both say what a network reaches without a method. negated_gradient
               ascends. scaled_gradient is ste at another rate: no alignment may tell it from ste
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "a control, not a method: no paper"
    family = "control"
    note = "a control, not a method: its gradient or its signs are spoiled on purpose"

    drawn: Tensor

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        kind: Literal[
            "random_gradient", "negated_gradient", "scaled_gradient", "random_signs"
        ] = "random_gradient",
        scale: float = 10.0,
    ) -> None:
        """Make the quantizer of one tensor; ``scale`` is the factor of ``scaled_gradient``."""
        super().__init__(bit_width=bit_width, target=target)
        self.kind, self.scale = kind, scale
        self.fixed = kind == "random_signs" and target == "weight"

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Start as ste does, and draw the fixed codes."""
        super().initialize(x, layer, inputs)
        if self.fixed:
            codes, _ = super().codes(torch.randn_like(x))
            self.register_buffer("drawn", codes.to(torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """The value of ste, or of the fixed codes."""
        if self.target == "activation":
            return super().forward(x)
        if self.fixed:
            return with_gradient(x, decode(*self.codes(x)))
        return super().forward(self._spoiled(x))

    def _spoiled(self, x: Tensor) -> Tensor:
        if self.kind == "random_gradient":
            result: Tensor = _RandomGradient.apply(x)  # type: ignore[no-untyped-call]
            return result
        factor = -1.0 if self.kind == "negated_gradient" else self.scale
        scaled: Tensor = _Scaled.apply(x, factor)  # type: ignore[no-untyped-call]
        return scaled

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and levels of ste; the codes are the fixed ones where these are drawn."""
        codes, codebook = super().codes(x)
        return (self.drawn.long() if self.fixed else codes), codebook
