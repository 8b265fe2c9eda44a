"""The settings of a recipe: optimizer, schedule, epochs, batch and what else training needs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from qbench.study.settings import Settings

__all__ = ["Optimizer", "Schedule", "Training", "merged"]


class Optimizer(Settings):
    """How latent weights and the network's other parameters move."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    momentum: NonNegativeFloat = 0.9
    """Of sgd; adam and adamw use ``betas``."""
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 1e-4
    """Not applied to batch-norm parameters, biases and the quantizers' own parameters."""


class Schedule(Settings):
    """The learning rate over training, as a factor of the optimizer's rate."""

    name: Literal["constant", "cosine", "linear", "step"] = "cosine"
    """``cosine`` and ``linear`` fall to 0 at the end, step by step."""
    warmup_epochs: NonNegativeFloat = 0.0
    """A linear rise from 0 at the start."""
    milestones: tuple[PositiveFloat, ...] = ()
    """Of ``step``: the epochs at which the rate is multiplied by ``factor``."""
    factor: PositiveFloat = 0.1


class Training(Settings):
    """The recipe: the same for every quantizer, unless an entry of the study says otherwise."""

    epochs: NonNegativeInt = 200
    """0 deploys the start as it is rounded, or as a post-training method fits it."""
    batch: PositiveInt = 128
    evaluation_batch: PositiveInt = 500
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: tuple[Literal["crop", "flip"], ...] | None = None
    """What is done to training images; ``null`` takes the data set's own, ``[]`` does nothing."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_gradient: PositiveFloat | None = None
    """The largest 2-norm of all gradients together."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Of the network in training; weights, quantizers and evaluation are float32 in each. ``tf32``:
    a GPU multiplies with 10 bits of mantissa; ``bf16``: the network computes in bfloat16."""
    engine: Literal["auto", "eager", "compiled", "captured"] = "auto"
    """How a step is run; ``auto`` takes what pays on the device without changing a number there."""
    reestimation_batches: NonNegativeInt = 20
    """Training batches for re-estimating batch-norm statistics with deployed weights; 0: none."""


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, group by group."""
    found = dict(base)
    for key, value in changes.items():
        inner = base.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[key] = merged(inner, value) if both and inner is not None else value
    return found
