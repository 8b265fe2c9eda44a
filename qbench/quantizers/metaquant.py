"""MetaQuant: a small trained network turns the gradient of the quantized weight into a step."""

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from qbench.errors import UsageError
from qbench.quantizers.contract import ParameterGroup, Progress, Quantizer, Target
from qbench.quantizers.functional import with_gradient
from qbench.quantizers.meta_bases import make_base
from qbench.quantizers.meta_networks import FullTrace, MetaNetwork
from qbench.quantizers.meta_steps import MetaStep, Refinement
from qbench.registry import quantizers

__all__ = ["MetaQuant"]


@quantizers.register("metaquant")
class MetaQuant(Quantizer):
    """A shared meta network, trained with the task loss, estimates the weights' gradients.

    Chen, Wang, Pan, "MetaQuant: Learning to Quantize by Learning to Penetrate Non-differentiable
    Quantization", NeurIPS 2019.

    forward    q = Q(u), u = A(w):  dorefa, k bits:  u = tanh(w) / (2 max|tanh w|) + 1/2,
               q = 2 floor(n u + 1/2) / n - 1,  n = 2^k - 1;
               bwn, 1 bit:  u = w,  q = mean|w| sign(w), of the layer, or of the filter (bwn_filter)
    backward   the weight receives g = dl/dq itself; its step is  w <- w - rate pi(cal M(g, u)),
               cal = (1 - tanh^2 w) / max|tanh w| (dorefa), 1 (bwn), and pi the refinement;
               M = f(g) (fcgrad), g f(u) (multifc), g FC(LSTM(u)) (lstmfc), f linear layers
               without bias.  The next step's loss trains f:
               dl/dphi = -rate sum s cal dM/dphi,  s = dl/dw by the straight-through
               estimator, or by M itself (phi_path meta)
    shapes     w any; phi 2 H (depth 2); LSTM state [1, weights, H]
    start      f from torch's initial values, whose slope is negative as often as not, or slope 1
               (initial unit); the first step trains nothing in f
    schedule   the rate is the recipe's at the batch that g came from, as in plain descent; Adam
               trains f, at the recipe's schedule (published code: constant); a rate of 0 freezes f
    deviates   the paper moves w inside the next forward; here at the end of the step, with the
               same values, so that nothing is pending at evaluation; batch norm and biases keep
               the recipe's optimizer, w has momentum 0.9 by default and ``weight_decay``, not the
               recipe's; order released: the published forward, at the weight minus its last step
               once more, where u and g come from but cal does not
    cost       a linear f is one number, a ReLU's two: few kernels; tanh, LSTM: H values a weight
    """

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8)}
    paper = "Chen et al., NeurIPS 2019"
    family = "meta"
    owns_update = True
    search = {
        "meta": ["fcgrad", "multifc"],
        "meta_learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "weight_decay": [0.0, 1e-4, 5e-4],
    }
    components = {
        "meta_network": {"initial": "unit", "meta_learning_rate": 0.0},
        "momentum": {"refinement": "sgd"},
    }

    network: MetaNetwork
    step: MetaStep

    def __init__(
        self,
        *,
        bit_width: int,
        target: Target,
        meta: Literal["fcgrad", "multifc", "lstmfc"] = "fcgrad",
        base: Literal["dorefa", "bwn", "bwn_filter"] = "dorefa",
        hidden: int = 100,
        depth: int = 2,
        activation: Literal["none", "relu", "tanh"] = "none",
        initial: Literal["default", "unit"] = "default",
        meta_learning_rate: float = 1e-3,
        order: Literal["paper", "released"] = "paper",
        phi_path: Literal["ste", "meta"] = "ste",
        refinement: Literal["sgd", "momentum", "adam"] = "momentum",
        weight_decay: float = 0.0,
    ) -> None:
        """Make the quantizer of one weight; a UsageError names options that do not go together."""
        super().__init__(bit_width=bit_width, target=target)
        if phi_path == "meta" and meta == "lstmfc":
            raise UsageError(
                "metaquant cannot train an lstmfc with phi_path 'meta', because its state would "
                "depend on the gradient that is asked for; take 'ste', or fcgrad or multifc"
            )
        self.base = make_base(base, bit_width)
        self.meta = (meta, hidden, depth, activation, initial)
        self.meta_learning_rate = meta_learning_rate
        self.refinement = (refinement, weight_decay)
        self.phi_path = phi_path
        self.released = order == "released"
        self.trains_hard = self.exact_at_end = not self.released
        self.leads, self.first = False, True

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Draw the meta network that all layers share; the first layer keeps its rate."""
        network = MetaNetwork(*quantizers[0].meta)
        network.members = len(quantizers)
        for quantizer in quantizers:
            quantizer.network = network
        quantizers[0].leads = True

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Make what the layer remembers from step to step."""
        refinement = Refinement(*self.refinement, x)
        self.step = MetaStep(
            x, self.base, self.network, refinement, released=self.released, phi_path=self.phi_path
        )

    def set_progress(self, progress: Progress) -> None:
        """Take the learning rate over."""
        self.first = progress.step == 0
        if self.leads:
            self.network.rate.fill_(progress.learning_rate)

    @property
    def structure(self) -> Hashable:
        """Whether an estimate has been made yet."""
        return self.first

    @property
    def gain(self) -> Tensor:
        """0-dim: the number that f is (c; c+ of ReLU), or for tanh and LSTM its last mean slope."""
        if isinstance(self.step.trace, FullTrace):
            return self.step.trace.gain
        return self.network.gains().detach()[0]

    def latent_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """What the meta network makes of the gradient, before the refinement."""
        return self.step.estimate(self.network, gradient, weight)

    def readings(self) -> dict[str, Tensor]:
        """The gain."""
        return {"gain": self.gain}

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``; its gradient is that of the rounded value."""
        weight = x.detach()
        if self.released and self.training:
            weight = self.step.point(weight)
        return with_gradient(x, self.base.value(weight))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and level values: ``[levels]``, or ``[channels, 2]`` of bwn_filter."""
        return self.base.codes(x.detach())

    def parameter_groups(self) -> list[ParameterGroup]:
        """The meta network is trained by Adam, without weight decay."""
        phi = tuple(self.network.parameters())
        return [ParameterGroup(phi, optimizer="adam", learning_rate=self.meta_learning_rate)]

    @torch.no_grad()
    def after_backward(self, weight: nn.Parameter) -> None:
        """Give the meta network its gradient."""
        self.step.teach(self.network, _gradient(weight), weight, self.first)

    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        """Move the weight by what the meta network, now one step further, makes of its gradient."""
        self.step.move(self.network, _gradient(weight), weight, self.first)
        if self.leads:
            self.network.moved_rate.copy_(self.network.rate)
        weight.grad = None  # no optimizer clears it


def _gradient(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
