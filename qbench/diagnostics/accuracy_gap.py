"""What deployment costs in accuracy at this moment of training."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.models.evaluation import evaluate
from qbench.registry import diagnostics

__all__ = ["accuracy_gap"]


@diagnostics.register("accuracy_gap", unit="share of images")
def accuracy_gap(measurement: Measurement) -> Iterator[Reading]:
    """Accuracy of the training forward minus that of the deployed network, on held-out images."""
    _, trained = evaluate(measurement.model, measurement.held_out(), "training")
    _, deployed = evaluate(measurement.model, measurement.held_out(), "deployed")
    yield Reading("", "accuracy_gap", torch.tensor(trained - deployed, dtype=torch.float64))
