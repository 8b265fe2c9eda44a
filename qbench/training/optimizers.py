"""Optimizers from a recipe, with the quantizers' own parameter groups, and the learning rate."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Quantizer
from qbench.study.schema import Optimizer as OptimizerSettings
from qbench.study.schema import Schedule, Training

__all__ = [
    "make_optimizers", "quantizers_of", "rate_factor", "rates_on_device", "set_learning_rates",
]  # fmt: skip


def quantizers_of(model: nn.Module) -> Iterator[tuple[Quantizer, nn.Parameter | None]]:
    """Each quantizer of a model, with the latent weight if it is a weight's."""
    for layer in quantized_layers(model).values():
        if layer.activation_quantizer is not None:
            yield layer.activation_quantizer, None
        if layer.weight_quantizer is not None:
            weight = layer.weight
            yield layer.weight_quantizer, weight if isinstance(weight, nn.Parameter) else None


def make_optimizers(
    model: nn.Module, training: Training, *, fused: bool = False
) -> list[Optimizer]:
    """One optimizer for the recipe, and one for each other kind that a quantizer asks for.

    Weight decay reaches matrices and convolution kernels only: batch-norm parameters and biases
    have none, and a quantizer says what its own parameters have.

    Args:
        model: With its quantized layers.
        training: The recipe.
        fused: One kernel an optimizer and step, as a GPU wants it and a recorded step needs it.
    """
    recipe = training.optimizer
    own: dict[str, list[dict[str, object]]] = {recipe.name: []}
    taken: set[int] = set()
    for quantizer, weight in quantizers_of(model):
        if quantizer.owns_update and weight is not None:
            taken.add(id(weight))
        for group in quantizer.parameter_groups():
            fresh = [parameter for parameter in group.parameters if id(parameter) not in taken]
            taken |= {id(parameter) for parameter in group.parameters}
            decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
            rate = recipe.learning_rate if group.learning_rate is None else group.learning_rate
            if fresh:
                own.setdefault(group.optimizer or recipe.name, []).append(
                    {
                        "params": fresh,
                        "lr": rate,
                        "weight_decay": decay,
                        "scheduled": group.scheduled,
                    }
                )
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    own[recipe.name] = [
        group | {"lr": recipe.learning_rate, "scheduled": True} for group in groups
    ] + own[recipe.name]
    made = [_optimizer(name, groups, recipe, fused or None) for name, groups in own.items()]
    for optimizer in made:
        for made_group in optimizer.param_groups:
            made_group["first_lr"] = made_group["lr"]
    return made


def _optimizer(
    name: str, groups: list[dict[str, object]], recipe: OptimizerSettings, fused: bool | None
) -> torch.optim.Optimizer:
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        momentum = recipe.momentum if recipe.name == "sgd" else 0.9
        return SGD(groups, recipe.learning_rate, momentum, nesterov=recipe.nesterov, fused=fused)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[name]
    return kind(
        groups, lr=recipe.learning_rate, betas=recipe.betas, fused=fused, capturable=bool(fused)
    )


def rate_factor(schedule: Schedule, epoch: float, epochs: int) -> float:
    """The learning rate as a share of the rate at the start, a pure function of progress.

    Args:
        schedule: The recipe's schedule.
        epoch: Epochs done, with the fraction of the running one.
        epochs: Epochs of the whole training.
    """
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "step":
        return float(schedule.factor ** sum(epoch >= mark for mark in schedule.milestones))
    length = max(epochs - schedule.warmup_epochs, 1e-9)
    done = min((epoch - schedule.warmup_epochs) / length, 1.0)
    return 1.0 - done if schedule.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def set_learning_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Give every scheduled group its rate for the coming step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["first_lr"] * (factor if group["scheduled"] else 1.0)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def rates_on_device(optimizers: list[Optimizer], device: torch.device) -> None:
    """Keep learning rates in tensors, which a recorded step reads anew each time."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["lr"]
            if not isinstance(rate, Tensor) or rate.device != device:
                group["lr"] = torch.tensor(float(rate), device=device)
