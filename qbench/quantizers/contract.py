"""What a quantizer owes, and what it may do.

A quantizer turns one tensor, a layer's weight or its input, into few levels. Two members are owed:
:meth:`Quantizer.forward`, the value that training uses, and :meth:`Quantizer.codes`, the integer
codes and level values that are deployed. Everything else is a no-op until a method needs it.

A training step calls, in this order: ``set_progress``, ``forward``, loss plus ``penalty``,
``zero_grad``, ``backward``, ``after_backward``, the optimizers' steps, ``after_step``.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

__all__ = [
    "Family", "ParameterGroup", "Progress", "Provenance", "Quantizer", "Target", "decode",
]  # fmt: skip

Target = Literal["weight", "activation"]

Family = Literal[
    "reference", "control", "surrogate", "annealed", "learned levels", "meta", "regulariser",
    "proximal", "latent-free", "stochastic", "post-training",
]  # fmt: skip
"""``surrogate``: a hard forward with another backward; ``annealed``: soft, and hard at the end;
``learned levels``: steps, clips or level values are trained or fitted; ``meta``: a second network
makes the update or the codes; ``regulariser``: a term of the loss; ``proximal``: a map pulls
weights to levels; ``latent-free``: the weights are the levels; ``stochastic``: the forward is
sampled; ``post-training``: nothing is trained."""

Provenance = Literal["verified", "recalled", "reconstruction"]
"""``verified``: the paper's text or its authors' code was read; ``recalled``: the equations are
known but were not seen again; ``reconstruction``: filled in from an abstract or notes."""


@dataclass(frozen=True)
class Progress:
    """Where training stands; every schedule of a quantizer is a pure function of it."""

    step: int
    """Optimizer steps done so far."""
    total_steps: int
    epoch: int
    """The running epoch, from 0; ``total_epochs`` once training has ended."""
    total_epochs: int
    learning_rate: float
    """The learning rate of the recipe at this step."""

    @property
    def fraction(self) -> float:
        """Share of training that is done, 0 at the first step and 1 after the last."""
        return self.step / max(self.total_steps, 1)

    @classmethod
    def end(cls) -> "Progress":
        """The state after training, at which ``exact_at_end`` methods train hard."""
        return cls(step=1, total_steps=1, epoch=1, total_epochs=1, learning_rate=0.0)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that a quantizer wants to be optimized in its own way."""

    parameters: tuple[nn.Parameter, ...]
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    """The optimizer; the recipe's own by default."""
    learning_rate: float | None = None
    """The rate at the start; the recipe's own by default."""
    weight_decay: float | None = 0.0
    """The decay; ``None`` takes the recipe's."""
    scheduled: bool = True
    """Whether the learning rate follows the recipe's schedule."""


def decode(codes: Tensor, codebook: Tensor, axis: int = 0) -> Tensor:
    """The values that codes stand for: ``codebook[codes]``.

    Args:
        codes: Integers in ``[0, L)``, any shape.
        codebook: Level values ``[L]``, or ``[channels, L]`` with a row for each slice of ``axis``.
        axis: The channel axis of ``codes``: 0 for weights, 1 for activations.
    """
    if codebook.ndim == 1:
        return codebook[codes]
    rows = codes.transpose(0, axis).flatten(1)
    values = codebook.gather(1, rows)
    return values.view(codes.transpose(0, axis).shape).transpose(0, axis)


class Quantizer(nn.Module, ABC):
    """One tensor's way into few bits; a method makes one of these a layer and target.

    Subclasses state facts as literal class attributes, which tests check and which
    ``qbench list`` reads without importing them. Keyword-only arguments of ``__init__`` with a
    default are the method's options in a study file.
    """

    bits: ClassVar[dict[str, tuple[int, ...]]] = {}
    """The bit-widths that the method can do, for each target that it has an answer to."""
    paper: ClassVar[str] = ""
    """Authors, venue, year, identifier."""
    family: ClassVar[Family] = "surrogate"
    """What carries the method."""
    provenance: ClassVar[Provenance] = "verified"
    """What its equations rest on."""
    signed_inputs: ClassVar[bool] = False
    """Whether its activations need values of both signs: after a ReLU, sign(x) is 1 everywhere."""
    search: ClassVar[dict[str, object]] = {}
    """The options worth tuning: a list of choices, or ``{"low": 1e-5, "high": 1e-2, "log": True}``,
    a range with both ends (of whole numbers where both are); the default lies inside."""
    components: ClassVar[dict[str, dict[str, object]]] = {}
    """The parts that can be left out, which a study's ``without`` names: the options that do it."""
    stochastic: bool = False
    """Whether two training forwards of one input may differ; an instance whose options change that
    says so itself."""
    trains_hard: bool = True
    """Whether the training forward equals the deployed value, bit for bit; an instance whose
    options change that says so itself."""
    exact_at_end: bool = True
    """Whether it does so once progress is 1; of an instance likewise."""
    owns_update: ClassVar[bool] = False
    """Whether the method moves the latent weight itself, in place of the recipe's optimizer."""

    def __init__(self, *, bit_width: int, target: Target) -> None:
        """Make the quantizer of one tensor.

        Args:
            bit_width: Bits of the deployed codes, one of ``bits[target]``.
            target: What the tensor is, a layer's weight or its input.
        """
        super().__init__()
        self.bit_width = bit_width
        self.target: Target = target

    @property
    def levels(self) -> int:
        """How many values the deployed tensor can take (a channel); not always ``2**bit_width``."""
        return int(2**self.bit_width)

    @property
    def structure(self) -> Hashable:
        """The Python values that the way through ``forward`` and the hooks depends on.

        A step that was recorded with one value is recorded anew with another; so it must not change
        often. Tensors that ``set_progress`` fills are no part of it.
        """
        return None

    @property
    def channel_axis(self) -> int:
        """The axis of a per-channel codebook: 0 of a weight, 1 of an activation."""
        return 0 if self.target == "weight" else 1

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The value used in training, of the shape of ``x``; differentiable, in float32."""

    @abstractmethod
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The deployed form of ``x``.

        Returns:
            Codes, int64, of the shape of ``x``, in ``[0, levels)``; and the level values, float32,
            ``[levels]`` or ``[channels, levels]``.
        """

    def deployed(self, x: Tensor) -> Tensor:
        """The deployed value, by definition ``codebook[codes]``."""
        codes, codebook = self.codes(x)
        return decode(codes, codebook, self.channel_axis)

    def initialize(self, x: Tensor, layer: nn.Module, inputs: Tensor) -> None:
        """Start from data, once, before the first step; runs without gradients.

        Activation quantizers of a layer are initialized before its weight quantizer.

        Args:
            x: The weight (the Parameter itself, which may be changed in place) or the layer's
                input in the first training batch.
            layer: The quantized layer that the quantizer belongs to.
            inputs: The layer's input in the first training batch.
        """

    @classmethod
    def connect(cls, quantizers: Sequence[Self]) -> None:
        """Let the quantizers of one model know each other, once, before ``initialize``.

        A method whose layers share something (a meta network) makes it here. Random numbers drawn
        here come from the trial's stream for initial values.
        """

    def set_progress(self, progress: Progress) -> None:
        """Called before each step, and once at the end; schedules are pure functions of it."""

    def penalty(self, x: Tensor) -> Tensor | None:
        """A scalar to add to the loss for the latent weight or the input ``x``, or nothing."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """How the method's own parameters are optimized; by default without weight decay."""
        parameters = tuple(self.parameters())
        return [ParameterGroup(parameters)] if parameters else []

    def after_backward(self, weight: nn.Parameter) -> None:
        """Change the latent weight's gradient, or keep it, before the optimizers step."""

    def after_step(self, weight: nn.Parameter) -> None:
        """Change the latent weight after the optimizers' step: clip, project, own update."""

    def latent_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """What the method takes for d loss/d weight, before an optimizer; changes no state.

        Args:
            weight: The latent weight.
            gradient: What backpropagation through ``forward`` gives, of the weight's shape.
        """
        return gradient

    def readings(self) -> dict[str, Tensor]:
        """Numbers worth seeing while it trains, 0-dim, by name; by default its learned scalars."""
        own = self.named_parameters(recurse=False)
        return {name: parameter for name, parameter in own if parameter.ndim == 0}

    def fit(self, weight: Tensor, x_float: Tensor, x_quantized: Tensor) -> None:
        """Post-training: fit the codes of a weight to the layer's float and quantized inputs."""

    def extra_repr(self) -> str:
        """Bits and target, for ``print(network)``."""
        return f"bit_width={self.bit_width}, target={self.target}"
