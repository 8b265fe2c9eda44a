"""What the adapters to other libraries share: members of a family, and codes of an even grid."""

import importlib
from abc import abstractmethod
from functools import cache
from types import ModuleType
from typing import ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor

from qbench.errors import UsageError, not_installed
from qbench.quantizers.contract import Quantizer

__all__ = ["Adapted", "Rounded", "library"]


class Rounded(NamedTuple):
    """What a library made of a tensor: ``value = (integer - zero) * scale + offset``."""

    value: Tensor
    """The fake-quantized tensor, of the tensor's shape, with the library's own gradient."""
    scale: Tensor
    """One number a channel of a weight, or one."""
    zero: Tensor
    """Likewise."""
    offset: Tensor | None = None
    """Likewise; 0 where there is none."""


class Adapted(Quantizer):
    """A quantizer that another library computes; a subclass is a family, its members are made.

    The value and its gradient are the library's. The codes are the integers that the library
    rounded to, read off its value, so that what is deployed is what was trained.
    """

    requires: ClassVar[str] = ""
    """The library's name, which is that of the extra that installs it too."""
    members: ClassVar[dict[str, dict[str, tuple[int, ...]]]] = {}
    """Each member's bits, by target."""
    config: ClassVar[str] = ""
    """The member's name, of the class that :meth:`member` makes."""
    lowest: int
    """The smallest integer."""
    stride = 1
    """The distance of two neighbouring integers."""

    @classmethod
    def member(cls, name: str) -> type[Self]:
        """The quantizer that the library calls ``name``, always the same class."""
        return cast(type[Self], _made(cls, name))

    @abstractmethod
    def rounded(self, x: Tensor) -> Rounded:
        """What the library makes of ``x``; changes no state."""

    def forward(self, x: Tensor) -> Tensor:
        """The library's value, with the library's gradient."""
        return self.rounded(x).value

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and levels ``[channels, levels]`` of one scale a channel, else ``[levels]``."""
        with torch.no_grad():
            found = self.rounded(x.detach())
            scale, zero = (part.detach().reshape(-1, 1) for part in (found.scale, found.zero))
            index = torch.arange(self.levels, device=x.device) * self.stride + self.lowest
            offset = torch.zeros_like(scale) if found.offset is None else found.offset.view(-1, 1)
            codebook = (index.to(x.dtype) - zero) * scale + offset
            rows = found.value.flatten(1) if len(scale) > 1 else found.value.reshape(1, -1)
            integers = (rows - offset) / scale + zero
            codes = ((integers - self.lowest) / self.stride).round().long().view(x.shape)
        return codes, codebook if len(scale) > 1 else codebook[0]


@cache
def _made(family: type[Adapted], name: str) -> type[Adapted]:
    bits = family.members[name]
    signed = bits.get("activation") == (1,)  # one bit of an input is its sign
    facts = {"config": name, "bits": bits, "signed_inputs": signed, "__doc__": family.__doc__}
    return type(name, (family,), facts | {"__module__": family.__module__})


def library(name: str) -> ModuleType:
    """Import a module of a library that is not one of qbench's own needs.

    Raises:
        UsageError: The library is not installed.
    """
    root = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        raise UsageError(not_installed(root)) from None
