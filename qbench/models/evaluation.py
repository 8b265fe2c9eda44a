"""Accuracy and loss of a network, with the values of training or of deployment."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qbench.models.layers import Mode, quantized_layers, set_mode

__all__ = ["evaluate", "evaluating"]


@contextmanager
def evaluating(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Evaluation of ``model`` with the values of ``mode``; each weight is quantized once."""
    flags = [(part, part.training) for part in model.modules()]
    layers = quantized_layers(model)
    modes = {name: layer.mode for name, layer in layers.items()}
    model.eval()
    set_mode(model, mode)
    try:
        with torch.no_grad():
            for layer in layers.values():
                quantizer = layer.weight_quantizer
                if quantizer is not None and not (quantizer.stochastic and mode == "training"):
                    layer.fixed_weight = layer.quantized_weight().detach()
            yield
    finally:
        for name, layer in layers.items():
            layer.fixed_weight = None
            layer.mode = modes[name]
        for part, training in flags:
            part.training = training


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mode: Mode = "deployed"
) -> tuple[float, float]:
    """Mean cross-entropy and the share of correct images.

    Args:
        model: The network; its state is unchanged afterwards.
        batches: Images ``[batch, channels, height, width]`` and labels ``[batch]``.
        mode: Whose values the quantized layers compute with.

    Returns:
        Loss in nats, and accuracy in [0, 1].
    """
    loss = correct = None
    count = 0
    with evaluating(model, mode):
        for images, labels in batches:
            logits = model(images)
            batch_loss = cross_entropy(logits, labels, reduction="sum").double()
            batch_correct = (logits.argmax(1) == labels).sum()
            loss = batch_loss if loss is None else loss + batch_loss
            correct = batch_correct if correct is None else correct + batch_correct
            count += len(labels)
    if loss is None or correct is None:
        raise ValueError("there are no images to evaluate on")
    return loss.item() / count, correct.item() / count
