"""One trial as reference repositories train it, against the same trial through qbench.

Paper style: images through PIL one by one, contiguous memory, the quantizers' naive graphs
(:mod:`qbench.bench.naive`), optimizers that loop over parameters, loss and accuracy read with
``.item()`` in every step. qbench: its own loader, engine and evaluation. The network, its start,
the batch size, the number of steps and the images are the same. Of a trial's costs, input,
training and evaluation are in it; its setup is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

from qbench.bench.cases import BITS, Case, Made, can, images_of, make
from qbench.bench.naive import NAIVE, naive_network
from qbench.bench.outcome import Outcome, Setting, Table
from qbench.bench.pil import pil_loader
from qbench.bench.timing import Timing, measure, watch_of
from qbench.datasets.prepare import Images
from qbench.models.build import build_model
from qbench.training.allocator import giving_freed_memory_back

__all__ = ["PaperTrial", "Trials", "compare", "run"]

QBENCH, ALONE, WORKERS = "qbench", "paper style", "paper style, 2 workers"
_FIGURES = {("ste", "W1A32"): "trial_ste_w1a32", ("daq", "W4A4"): "trial_daq_w4a4"}
_TRAINING = 5  # batches of training to one of evaluation, as 50,000 images are to 10,000


class PaperTrial:
    """A trial in paper style."""

    def __init__(self, like: Made, images: Images, device: str, workers: int) -> None:
        """Start from the network of ``like``, with naive quantizers where it has its own."""
        trial = like.trial
        channels, side, _ = images.shape
        network = build_model(trial.model, channels=channels, classes=images.classes, size=side)
        self.model: nn.Module = naive_network(network.to(device), like.model, trial.quantizer.name)
        self.optimizers = _optimizers(self.model, like)
        self.device, pinned = device, device != "cpu"
        batch = trial.training.batch
        self.train = pil_loader(images, batch, train=True, workers=workers, pinned=pinned)
        self.test = pil_loader(images, batch, train=False, workers=workers, pinned=pinned)

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """Train on one batch; the mean loss and the number of correct images."""
        logits = self.model(images)
        loss = cross_entropy(logits, labels)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item(), int((logits.argmax(1) == labels).sum().item())

    def train_and_evaluate(self) -> tuple[float, float]:
        """An epoch and an evaluation; the mean losses of both."""
        with giving_freed_memory_back():
            return self._train_and_evaluate()

    def _train_and_evaluate(self) -> tuple[float, float]:
        self.model.train()
        losses = [self.step(*self._moved(batch))[0] for batch in self.train]
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in self.test:
                images, labels = self._moved(batch)
                total += cross_entropy(self.model(images), labels).item() * len(labels)
                count += len(labels)
        return sum(losses) / len(losses), total / count

    def _moved(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return images.to(self.device), labels.to(self.device)


def _optimizers(model: nn.Module, like: Made) -> list[Optimizer]:
    """Those of ``like``, for the parameters of ``model``, each looping over its parameters."""
    recipe = like.trial.training.optimizer
    theirs = set(dict(like.model.named_parameters()))
    named = dict(model.named_parameters())
    own = [value for name, value in named.items() if name not in theirs]
    rest = [value for name, value in named.items() if name in theirs]
    groups: list[dict[str, Any]] = [
        {"params": [value for value in rest if value.ndim > 1]},
        {"params": [value for value in rest if value.ndim <= 1], "weight_decay": 0.0},
    ]
    found: list[Optimizer] = []
    if len(like.optimizers) > 1:
        found.append(Adam(own, lr=like.optimizers[1].param_groups[0]["lr"], foreach=False))
    elif own:
        groups.append({"params": own})
    first = SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay, foreach=False,
    )  # fmt: skip
    return [first, *found]


@dataclass(frozen=True)
class Trials:
    """One case in both ways."""

    case: Case
    images: int
    timing: Timing

    @property
    def speedup(self) -> float:
        """How many times the work of qbench the quicker paper-style trial costs."""
        return min(self.timing.ratio(arm, QBENCH) for arm in (ALONE, WORKERS))

    def rows(self) -> list[tuple[str | float, ...]]:
        """A line an arm."""
        return [
            (
                self.case.quantizer,
                self.case.bits,
                arm,
                self.timing.seconds[arm],
                self.timing.wall[arm],
                self.images / self.timing.seconds[arm],
                self.timing.ratio(arm, QBENCH),
                self.timing.error,
            )
            for arm in (QBENCH, ALONE, WORKERS)
        ]


def compare(case: Case, setting: Setting, engine: str = "eager") -> Trials:
    """Time one case in both ways."""
    batches = 1 if setting.quick else 2
    count = batches * _TRAINING * case.batch
    images = images_of(count, batches * case.batch, 8 if setting.quick else 32)
    made = make(case, images, setting.device, engine=engine)
    arms: dict[str, Callable[[], object]] = {QBENCH: made.train_and_evaluate}
    for arm, workers in ((ALONE, 0), (WORKERS, 2)):
        arms[arm] = PaperTrial(made, images, setting.device, workers).train_and_evaluate
    timing = measure(arms, rounds=1 if setting.quick else 5, watch=watch_of(setting.device))
    return Trials(case, count, timing)


def run(setting: Setting, engine: str = "eager") -> Outcome:
    """Compare every method with a naive graph, in ResNet-20."""
    model, batch = ("resnet8", 4) if setting.quick else ("resnet20", 128)
    wanted = [
        Case(method, bits, model, batch)
        for bits in BITS
        for method in NAIVE
        if can(method, bits) and not (setting.quick and (method, bits) not in _FIGURES)
    ]
    found = [compare(case, setting, engine) for case in wanted]
    columns = (
        "quantizer", "bits", "trial", "seconds", "wall seconds", "images/s", "times qbench", "A/A",
    )  # fmt: skip
    table = Table(
        f"One trial of {model}, batch {batch}, {engine}: input, training, evaluation",
        columns,
        tuple(row for trials in found for row in trials.rows()),
        "Seconds, and images/s, are of processor time on a CPU, that of worker processes included, "
        "and of the whole call on a GPU.",
    )
    speedups = {(trials.case.quantizer, trials.case.bits): trials.speedup for trials in found}
    figures = {name: speedups[pair] for pair, name in _FIGURES.items()}
    figures["slowest"] = min(speedups.values())
    return Outcome((table,), figures)
