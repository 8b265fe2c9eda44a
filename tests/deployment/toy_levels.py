"""Quantizers with every form of codebook, and networks with a layer of every kind."""

import torch
from torch import nn

from qbench.models.convert import quantize
from qbench.quantizers.contract import Quantizer, decode


class ChannelLevels(Quantizer):
    """Nearest of ``2**bits`` levels between a channel's extremes; a codebook a channel."""

    def codes(self, x):
        rows = x.detach().flatten(1)
        low, high = rows.min(1).values, rows.max(1).values
        steps = torch.arange(self.levels, device=x.device) / (self.levels - 1)
        codebook = low[:, None] + (high - low)[:, None] * steps
        distance = (rows[:, :, None] - codebook[:, None, :]).abs()
        return distance.argmin(2).view(x.shape), codebook

    def forward(self, x):
        return decode(*self.codes(x))


class Ternary(Quantizer):
    """Three levels, -s, 0 and s, with a trained scale that must not be deployed by itself."""

    levels = 3

    def __init__(self, *, bit_width, target):
        super().__init__(bit_width=bit_width, target=target)
        self.scale = nn.Parameter(torch.tensor(0.05))

    def codes(self, x):
        index = torch.arange(-1.0, 2.0, device=x.device)
        codes = torch.round(x.detach() / (2 * self.scale.detach())).clamp(-1, 1).long() + 1
        return codes, index * self.scale.detach()

    def forward(self, x):
        return decode(*self.codes(x)) * 1.01  # training and deployed values differ


class Steps(Quantizer):
    """Activation levels ``step * 0 … step * (L-1)``; the state is a parameter and a buffer."""

    def __init__(self, *, bit_width, target):
        super().__init__(bit_width=bit_width, target=target)
        self.step = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("offset", torch.tensor(0.0))

    def initialize(self, x, layer, inputs):
        self.step.data.copy_((x.max() - x.min()) / (self.levels - 1))
        self.offset.copy_(x.min())

    def codes(self, x):
        index = torch.arange(self.levels, device=x.device)
        codes = torch.round((x.detach() - self.offset) / self.step.detach()).long()
        return codes.clamp(0, self.levels - 1), self.offset + index * self.step.detach()

    def forward(self, x):
        return decode(*self.codes(x)) * 0.99  # training and deployed values differ


def network(weights, weight_bits=2, activation_bits=4, keep_float=("first",)):
    """A converted network with grouped and plain convolutions, batch norm and a linear layer."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6, momentum=1.0),  # one batch is enough
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(6, momentum=1.0),  # one batch is enough
        nn.ReLU(),
        nn.Conv2d(6, 5, 1),
        nn.Flatten(),
        nn.Linear(5 * 16, 3),
    )
    quantize(
        model,
        weights=(lambda: weights(bit_width=weight_bits, target="weight")) if weights else None,
        activations=lambda: Steps(bit_width=activation_bits, target="activation"),
        keep_float=keep_float,
    )
    return model
