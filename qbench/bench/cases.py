"""What is timed: a method's network with its engine and images, built as a trial builds them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qbench.bench.outcome import Setting
from qbench.datasets.loader import Loader, make_loader
from qbench.datasets.prepare import Images
from qbench.models.build import build_model
from qbench.models.convert import initialize
from qbench.models.evaluation import evaluate
from qbench.quantizers.contract import Progress
from qbench.registry import quantizers
from qbench.study.schema import Bits, Component, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.allocator import keep_freed_memory
from qbench.training.choose_engine import ENGINES, choose_engine
from qbench.training.engine import Engine, as_given
from qbench.training.optimizers import make_optimizers, rate_factor, set_learning_rates
from qbench.training.setup import quantized

__all__ = [
    "BITS", "METHODS", "Case", "Made", "can", "cases", "images_of", "make", "models_of",
]  # fmt: skip

METHODS = ("ste", "dorefa", "lsq", "daq", "metaquant", "quantnet", "quantization_networks")
BITS = ("W1A32", "W4A4")
EPOCHS, STEPS = 200, 390
"""The training in whose middle steps are timed: 50,000 images in batches of 128."""
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Case:
    """A method at its bits in a network."""

    quantizer: str
    bits: str
    model: str
    batch: int = 128

    @property
    def name(self) -> str:
        """``daq W4A4``; ``float`` for the float network."""
        return f"{self.quantizer} {self.bits}" if self.bits != "W32A32" else self.quantizer

    def trial(self) -> Trial:
        """The trial that it stands for."""
        return Trial(
            quantizer=Component(name=self.quantizer),
            model=Component(name=self.model),
            data=TrialData(name="random images"),
            bits=Bits.model_validate(self.bits),
            seed=0,
            training=Training(batch=self.batch, epochs=EPOCHS),
        )


@dataclass
class Made:
    """A case, ready to train."""

    trial: Trial
    model: nn.Module
    optimizers: list[Optimizer]
    engine: Engine
    loader: Loader
    batch: tuple[Tensor, Tensor]
    """One training batch, for steps alone."""

    def step(self) -> None:
        """One step on the same batch, in the middle of training."""
        self.engine.fetch = as_given
        self.engine.step(self.batch, self._at(EPOCHS * STEPS // 2))

    def train_and_evaluate(self) -> tuple[float, float]:
        """An epoch and an evaluation as a trial does them; the losses of both."""
        self.model.train()
        self.engine.fetch = self.loader.fetch
        total, count = None, 0
        for number, picked in enumerate(self.loader.picks(0)):
            loss, _ = self.engine.step(picked, self._at(number))
            total = loss.clone() if total is None else total + loss
            count += 1
        assert total is not None  # an epoch has a batch
        test_loss, _ = evaluate(self.model, self.loader.test())
        return total.item() / count, test_loss

    def _at(self, step: int) -> Progress:
        recipe = self.trial.training
        factor = rate_factor(recipe.schedule, step / STEPS, EPOCHS)
        set_learning_rates(self.optimizers, factor)
        rate = recipe.optimizer.learning_rate * factor
        return Progress(step, EPOCHS * STEPS, step // STEPS, EPOCHS, rate)


def can(quantizer: str, bits: str) -> bool:
    """Whether a method declares these bits for weights and activations."""
    wanted, declared = Bits.model_validate(bits), quantizers.entry(quantizer).facts["bits"]
    return wanted.weight in declared["weight"] and (
        wanted.activation == 32 or wanted.activation in declared.get("activation", ())
    )


def cases(model: str, batch: int) -> list[Case]:
    """The float network and every core method at the bits that it can."""
    found = [Case("float", "W32A32", model, batch)]
    found += [
        Case(name, bits, model, batch) for bits in BITS for name in METHODS if can(name, bits)
    ]
    return found


def models_of(setting: Setting) -> tuple[str, ...]:
    """The networks that are timed."""
    return ("resnet8",) if setting.quick else ("resnet20", "vgg_small")


def images_of(train: int, test: int, side: int = 32) -> Images:
    """Random bytes in the shape of CIFAR-10, in memory.

    Args:
        train: Training images.
        test: Test images.
        side: Height and width in pixels.
    """
    draw = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = draw.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        return pixels, draw.integers(0, 10, count, dtype=np.int64)

    return Images(
        "random images", "", 10, (3, side, side), MEAN, STD, ("crop", "flip"), False, "made",
        *part(train), *part(test),
    )  # fmt: skip


def make(
    case: Case,
    images: Images,
    device: str = "cpu",
    *,
    engine: str = "eager",
    precision: str = "float32",
) -> Made:
    """Build a case in a process that is set up as a trial's; its initial values are always equal.

    Args:
        case: What to build.
        images: What it trains on; at least one batch.
        device: ``cpu`` or ``cuda``.
        engine: One of :data:`qbench.training.choose_engine.ENGINES`; what a device cannot run is
            eager there.
        precision: A recipe's.
    """
    keep_freed_memory()
    torch.manual_seed(0)
    trial = case.trial()
    recipe = trial.training.model_copy(update={"precision": precision})
    loader = make_loader(
        images, trial.data, batch=recipe.batch, evaluation_batch=recipe.evaluation_batch,
        augmentation=None, seed=0, device=device,
    )  # fmt: skip
    channels, side, _ = images.shape
    network = build_model(trial.model, channels=channels, classes=images.classes, size=side)
    model: nn.Module = quantized(network, trial).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first = next(iter(loader.plain_training(1)))
    initialize(model, first[0])
    optimizers = make_optimizers(model, recipe, fused=device != "cpu")
    kind = ENGINES[choose_engine(engine, device)]
    return Made(trial, model, optimizers, kind(model.train(), optimizers, recipe), loader, first)
