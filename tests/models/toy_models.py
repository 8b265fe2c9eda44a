"""Small networks and quantizers whose every value is known."""

from typing import ClassVar

import torch
from torch import nn

from qbench.quantizers.contract import Quantizer


def distinct(x):
    """One code for each value."""
    levels, codes = torch.unique(x.detach(), return_inverse=True)
    return codes, levels


class Identity(Quantizer):
    """Changes nothing, so that a converted network must compute what the float one does."""

    def forward(self, x):
        return x

    def codes(self, x):
        return distinct(x)


class Tenths(Quantizer):
    """Rounds to tenths and writes down who started when, on what."""

    log: ClassVar[list[tuple[str, nn.Module, torch.Tensor, torch.Tensor]]] = []
    connected: ClassVar[list[list[Quantizer]]] = []

    def forward(self, x):
        return torch.round(x * 10) / 10

    def codes(self, x):
        return distinct(self(x))

    def initialize(self, x, layer, inputs):
        assert not torch.is_grad_enabled()
        self.log.append((self.target, layer, x, inputs))

    @classmethod
    def connect(cls, quantizers):
        cls.connected.append(list(quantizers))


class OtherTenths(Tenths):
    """Another class, to be connected apart."""


class ShortcutNet(nn.Module):
    """Convolutions registered in another order than they are called, and one 1x1 shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.late = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.early = nn.Conv2d(4, 4, 1)  # 1x1, but no shortcut
        self.norm = nn.BatchNorm2d(4)
        self.downsample = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.late(self.early(x)) + self.downsample(x))
        return self.head(self.dropout(x.mean((2, 3))))
