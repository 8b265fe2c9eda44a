"""D3: what deployment costs at the output, on held-out images, and which part of it costs it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qbench.diagnostics.contract import Measurement, Reading
from qbench.models.batch_norm import batch_norms
from qbench.models.evaluation import evaluating
from qbench.models.layers import Mode, quantized_layers
from qbench.models.reestimate import reestimate_batch_norm
from qbench.registry import diagnostics

__all__ = ["OutputGap", "accuracy_error", "compare_outputs", "output_gap"]


@diagnostics.register("output_gap", unit="1", tracked=("output/accuracy_gap",))
def output_gap(measurement: Measurement, *, reestimation_batches: int = 20) -> Iterator[Reading]:
    """Outputs of the training forward against those of the deployed network, image by image.

    Formula: accuracy_gap = accuracy of the training forward - accuracy deployed;  loss_gap = loss
    deployed - loss of the training forward;  kl = mean KL(p_training || p_deployed);
    disagreement = share of images with another predicted class.  Without a suffix weights and
    activations are deployed; with ``_weights`` and ``_activations`` only these are;
    ``_reestimated`` is deployed with batch-norm statistics from ``reestimation_batches`` training
    batches that the deployed network made.  All forwards are in evaluation mode.

    Meaning: the cost of deployment. What re-estimation wins back was the fault of statistics.

    Range: accuracy_gap in [-1, 1], disagreement in [0, 1], kl from 0 on, loss_gap any, above 0
    where deployment hurts; all exactly 0 for a hard forward, but re-estimated. Errors are paired
    over images; mcnemar_p is the exact two-sided p of equal accuracy.

    Cost: up to five evaluations of the held-out images.

    Misleads: accuracy moves in steps of one image; a gap of 0 can be two errors that cancel (see
    disagreement); labels are not smoothed here.

    Source: soft and binarized validation of Bai et al., ProxQuant, ICLR 2019, arXiv:1810.00861;
    McNemar, Psychometrika 12, 1947.
    """
    model = measurement.probe.model
    labels, trained = _outputs(model, measurement.held_out(), "training")
    layers = quantized_layers(model).values()
    modes: dict[str, Mode] = {"": "deployed"}
    if any(layer.weight_quantizer is not None for layer in layers):
        modes["_weights"] = "deployed_weight"
    if any(layer.activation_quantizer is not None for layer in layers):
        modes["_activations"] = "deployed_activation"
    for suffix, mode in modes.items():
        _, hard = _outputs(model, measurement.held_out(), mode)
        found = compare_outputs(trained, hard, labels)
        yield from _readings(found, suffix)
        if not suffix:
            p = _mcnemar(found.worse, found.better) if found.changed else 1.0
            yield Reading("", "output/mcnemar_p", torch.tensor(p, dtype=torch.float64))
    if batch_norms(model):
        _, hard = _reestimated(measurement, reestimation_batches)
        yield from _readings(compare_outputs(trained, hard, labels), "_reestimated")


class OutputGap(NamedTuple):
    """Outputs of two networks for the same images; each value with its standard error."""

    accuracy_gap: tuple[float, float]
    loss_gap: tuple[float, float]
    kl: tuple[float, float]
    disagreement: tuple[float, float]
    worse: int
    """Images that the training forward alone has right."""
    better: int
    """Images that the deployed network alone has right."""

    @property
    def changed(self) -> int:
        """Images that one of the two has right."""
        return self.worse + self.better


def _mcnemar(worse: int, better: int) -> float:
    from scipy.stats import binomtest  # takes a second to import, of every process that trains

    return float(binomtest(worse, worse + better).pvalue)


def accuracy_error(worse: int, better: int, images: int) -> float:
    """Standard error of a paired difference of accuracies.

    ``sqrt(n10 + n01 - (n10 - n01)^2 / n) / n``, with ``n10`` and ``n01`` the images that one of
    the two alone has right.
    """
    return float((worse + better - (worse - better) ** 2 / images) ** 0.5 / images)


def compare_outputs(
    trained: Iterable[Tensor], deployed: Iterable[Tensor], labels: Iterable[Tensor]
) -> OutputGap:
    """Compare the outputs of two networks for the same batches of images.

    Args:
        trained: Logits ``[batch, classes]`` of the training forward.
        deployed: Logits of the deployed network.
        labels: ``[batch]``.
    """
    columns = []
    for one, other, label in zip(trained, deployed, labels, strict=True):
        first, second = one.double().log_softmax(1), other.double().log_softmax(1)
        # logs of probabilities that are 0 differ by an unknown, but have no weight
        divergence = torch.where(first.exp() > 0, first.exp() * (first - second), 0).sum(1)
        loss = cross_entropy(second, label, reduction="none")
        loss = loss - cross_entropy(first, label, reduction="none")
        guess, other_guess = one.argmax(1), other.argmax(1)
        right, other_right = (guess == label).double(), (other_guess == label).double()
        different = (guess != other_guess).double()
        columns.append(torch.stack([right - other_right, loss, divergence, different]))
    table = torch.cat(columns, 1)
    images = table.shape[1]
    worse, better = (int(count) for count in ((table[0] > 0).sum(), (table[0] < 0).sum()))
    means = table.mean(1).tolist()
    errors = (table.std(1, correction=0) / images**0.5).tolist()
    return OutputGap(
        (means[0], accuracy_error(worse, better, images)),
        (means[1], errors[1]),
        (means[2], errors[2]),
        (means[3], errors[3]),
        worse,
        better,
    )


def _readings(found: OutputGap, suffix: str) -> Iterator[Reading]:
    for quantity in ("accuracy_gap", "loss_gap", "kl", "disagreement"):
        for ending, value in zip(("", "_se"), getattr(found, quantity), strict=True):
            reading = torch.tensor(value, dtype=torch.float64)
            yield Reading("", f"output/{quantity}{suffix}{ending}", reading)


def _outputs(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mode: Mode
) -> tuple[list[Tensor], list[Tensor]]:
    """Labels and logits of each batch."""
    labels, logits = [], []
    with evaluating(model, mode):
        for images, truth in batches:
            labels.append(truth)
            logits.append(model(images))
    return labels, logits


def _reestimated(measurement: Measurement, count: int) -> tuple[list[Tensor], list[Tensor]]:
    model = measurement.probe.model
    buffers = [buffer for norm in batch_norms(model) for buffer in norm.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    try:
        with evaluating(model, "deployed"):
            training = islice(measurement.training(), count)
            reestimate_batch_norm(model, (images for images, _ in training))
        return _outputs(model, measurement.held_out(), "deployed")
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
