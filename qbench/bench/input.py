"""Images a second that are made ready for the network: batches of bytes against PIL."""

from collections import deque
from collections.abc import Iterable

import torch

from qbench.bench.cases import images_of
from qbench.bench.outcome import Outcome, Setting, Table
from qbench.bench.pil import pil_loader
from qbench.bench.timing import measure, watch_of
from qbench.datasets.loader import make_loader
from qbench.study.trial import TrialData

__all__ = ["run"]

_NAMES = ("batched, training", "PIL, training", "batched, evaluation", "PIL, evaluation")


def run(setting: Setting) -> Outcome:
    """Time a pass over random bytes in the shape of CIFAR."""
    train, test, batch = (32, 16, 16) if setting.quick else (5120, 1024, 128)
    images = images_of(train, test)
    loader = make_loader(
        images, TrialData(name="random images"), batch=batch, evaluation_batch=batch,
        augmentation=None, seed=0, device=setting.device,
    )  # fmt: skip
    pil = {kind: pil_loader(images, batch, train=kind, workers=0) for kind in (True, False)}
    arms = {
        _NAMES[0]: lambda: _drain(loader.training(0)),
        _NAMES[1]: lambda: _drain(_moved(pil[True], setting.device)),
        _NAMES[2]: lambda: _drain(loader.test()),
        _NAMES[3]: lambda: _drain(_moved(pil[False], setting.device)),
    }
    rounds = 1 if setting.quick else 7
    timing = measure(arms, rounds=rounds, watch=watch_of(setting.device))
    rows = tuple(
        (
            name,
            count / timing.seconds[name],
            1e6 * timing.seconds[name] / count,
            timing.ratio(slow, name),
        )
        for name, count, slow in zip(
            _NAMES, (train, train, test, test), (_NAMES[1],) * 2 + (_NAMES[3],) * 2, strict=True
        )
    )
    table = Table(
        f"Input of 32x32 images in batches of {batch}, one thread",
        ("pipeline", "images/s", "us an image", "times PIL"),
        rows,
        f"A/A ratio {timing.error:.3f}. Training images are cropped, flipped and normalised, those "
        "of evaluation normalised.",
    )
    return Outcome((table,), {"input": timing.ratio(_NAMES[1], _NAMES[0])})


def _drain(batches: Iterable[object]) -> None:
    deque(batches, maxlen=0)


def _moved(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: str) -> Iterable[object]:
    return ((images.to(device), labels.to(device)) for images, labels in batches)
