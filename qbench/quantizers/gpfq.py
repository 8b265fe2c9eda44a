"""GPFQ: each weight is rounded so that it takes back the error of those before it."""

import math

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import Quantizer, Target
from qbench.quantizers.functional import with_gradient
from qbench.registry import quantizers

__all__ = ["GPFQ"]

CHUNK = 8192
"""Samples whose products are added up at once, in float64."""


@quantizers.register("gpfq")
class GPFQ(Quantizer):
    """Greedy path following: after training, weight by weight, so that the layer's output stays.

    Lybrand, Saab, "A Greedy Algorithm for Quantizing Neural Networks", JMLR 2021, arXiv:2010.15979;
    Zhang, Zhou, Saab, "Post-training Quantization for Neural Networks with Provable Guarantees",
    2022, arXiv:2201.11113; code YixuanSeanZhou/Quantized_Neural_Nets.

    fit        of each neuron, for t = 1 .. T:  u <- u + w_t X_t,
               q_t = Q(<Y_t, u> / |Y_t|^2),  u <- u - q_t Y_t;  X_t and Y_t are what feature t is
               on the calibration images in the float network, and in the network whose layers
               before are quantized;  Q the nearest of delta {-M .. M},  M = 2^(k-1) - 1,
               delta = radius mean_neurons(quantile(|w|)) / M
    forward    delta code, the codes that were fitted; backward dq/dw = 1
    shapes     w [neurons, …], a neuron an output channel; X, Y [samples, features]; codes like w
    start      the nearest levels of the start's weight, until it is fitted
    schedule   none: codes stand. With epochs, batch norm and float layers train around them
    deviates   2^k - 1 levels, which k bits can hold, where the code has 2^k + 1; a feature that is
               0 on all images is rounded to the nearest level
    cost       T products of [neurons] with up to T values, once: only sums over samples are kept
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Lybrand and Saab, JMLR 2021, arXiv:2010.15979"
    family = "post-training"
    owns_update = True
    search = {"radius": {"low": 0.6, "high": 2.0}, "quantile": [0.9, 0.95, 0.99, 1.0]}
    note = "fitted after training; 2^k - 1 levels, where the published code has 2^k + 1"

    fitted: Tensor
    step: Tensor

    def __init__(
        self, *, bit_width: int, target: Target, radius: float = 1.16, quantile: float = 1.0
    ) -> None:
        """Make the quantizer of one weight.

        Raises:
            UsageError: An option is out of its range.
        """
        super().__init__(bit_width=bit_width, target=target)
        if not radius > 0 or not 0 < quantile <= 1:
            raise UsageError(
                f"gpfq: radius={radius:g} and quantile={quantile:g}; radius must be above 0, "
                "quantile above 0 and at most 1"
            )
        self.radius, self.quantile = radius, quantile
        self.most = int(2 ** (bit_width - 1)) - 1
        self.register_buffer("step", torch.tensor(1.0))

    @property
    def levels(self) -> int:
        """``2^k - 1``."""
        return 2 * self.most + 1

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Set the step, and the nearest codes."""
        rows = x.detach().abs().flatten(1)
        rank = max(math.ceil(self.quantile * rows.shape[1]), 1)
        largest = rows.kthvalue(rank, dim=1).values.mean()
        self.step.copy_((self.radius * largest / self.most).clamp_min(1e-9))
        self._keep(self._nearest(x.detach() / self.step))

    def _nearest(self, scaled: Tensor) -> Tensor:
        return scaled.round().clamp(-self.most, self.most)

    def _keep(self, places: Tensor) -> None:
        codes = (places + self.most).to(torch.uint8)
        self.register_buffer("fitted", codes.contiguous())

    @torch.no_grad()
    def fit(self, weight: Tensor, x_float: Tensor, x_quantized: Tensor) -> None:
        """Choose the codes, feature by feature.

        Args:
            weight: ``[neurons, …]``; ``features`` values a neuron.
            x_float: ``[groups, samples, features]``, what the layer multiplies its weight with in
                the float network; neurons are dealt out to the groups in order.
            x_quantized: Likewise, in the network whose layers before are quantized.
        """
        groups = x_float.shape[0]
        neurons = weight.detach().flatten(1).double() / self.step
        parts = zip(neurons.chunk(groups), x_float, x_quantized, strict=True)
        fitted = torch.cat([self._path(rows, x, y) for rows, x, y in parts])
        self._keep(fitted.view(weight.shape))

    def _path(self, rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The places ``[neurons, features]`` on the grid, of weights in steps.

        ``<Y_t, u>`` is a sum over the features so far of products of inputs, and these are all that
        is needed of the samples: ``sum_{j<=t} w_j <Y_t, X_j> - sum_{j<t} q_j <Y_t, Y_j>``.
        """
        cross, own = _products(y, x), _products(y, y)
        target = rows @ cross.tril().T
        norms = own.diagonal()
        places = torch.zeros_like(rows)
        for t in range(rows.shape[1]):
            wanted = target[:, t] - places[:, :t] @ own[t, :t]
            seen = norms[t] > 0
            ratio = torch.where(seen, wanted / norms[t].clamp_min(1e-30), rows[:, t])
            places[:, t] = self._nearest(ratio)
        return places

    def forward(self, x: Tensor) -> Tensor:
        """The fitted weight."""
        return with_gradient(x, self.deployed(x))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The fitted codes, and levels ``[levels]``."""
        index = torch.arange(self.levels, dtype=self.step.dtype, device=self.step.device)
        return self.fitted.long(), (index - self.most) * self.step

    def after_step(self, weight: nn.Parameter) -> None:
        """Drop the gradient of the weight, which no optimizer moves or clears."""
        weight.grad = None


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Sums over samples of products, ``[features, features]``, float64."""
    total = first.new_zeros((), dtype=torch.double)
    for a, b in zip(torch.split(first, CHUNK), torch.split(second, CHUNK), strict=True):
        total = total + a.double().T @ b.double()
    return total
