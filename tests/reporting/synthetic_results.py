"""Result folders with planted numbers, written as a trial writes them."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qbench.store import LayerRow, PhaseRow, PointRow, Row, TrialFolder
from qbench.study.fingerprint import fingerprint
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Bits, Component, Study, Training
from qbench.study.trial import Trial, TrialData

AUDIT = {
    "coded_weights": 900, "coded_bytes": 250, "float_numbers": 100, "float_bytes": 750,
    "tensors": [],
}  # fmt: skip
ENVIRONMENT = {
    "versions": {"torch": "2.13.0", "qbench": "0.1.0"},
    "commit": "0123456789ab",
    "machine": {"processor": "Test CPU", "cores": 2, "system": "Linux 6"},
    "device": "cpu",
    "threads": 1,
    "engine": "eager",
    "peak_memory_bytes": 300 * 2**20,
    "started": 1.7e9,
    "finished": 1.7e9 + 60,
}
Accuracy = Callable[[Cell], float]


def make_trial(
    quantizer: str, bits: str, seed: int, model: str = "resnet8", data: str = "digits", **more: Any
) -> Trial:
    """A trial; ``more`` are its other fields."""
    return Trial(
        quantizer=Component(name=quantizer),
        model=Component(name=model),
        data=TrialData(name=data),
        bits=Bits.model_validate(bits),
        seed=seed,
        **more,
    )


def make_plan(
    labels: Sequence[str] = ("float", "ste", "lsq"),
    *,
    models: Sequence[str] = ("resnet8",),
    data: Sequence[str] = ("digits",),
    bits: Sequence[str] = ("W4A32",),
    seeds: Sequence[int] = (0, 1, 2),
    extra: Sequence[Cell] = (),
    **study: Any,
) -> Plan:
    """The whole grid; the label ``float`` stands for the float network."""
    settings = {
        "study": "synthetic",
        "question": "Which row was planted?",
        "quantizers": list(labels),
        "models": list(models),
        "data": {"sets": list(data)},
        "bits": list(bits),
        "seeds": list(seeds),
        "training": {"epochs": 20},
    }
    whole = Study.model_validate(settings | study)
    cells = [
        Cell(make_trial(label, width, seed, model, images, training=Training(epochs=20)), label)
        for label in labels
        for model in models
        for images in data
        for width in (["W32A32"] if label == "float" else bits)
        for seed in seeds
    ]
    return Plan(whole, (*cells, *extra))


def write_trial(
    results: Path,
    trial: Trial,
    accuracy: float,
    *,
    gap: float = 0.0,
    layers: dict[str, float] | None = None,
    train_seconds: float = 10.0,
    epochs: int = 20,
    refusal: str = "",
) -> TrialFolder:
    """A finished trial whose deployed test accuracy is ``accuracy`` (a share)."""
    folder = TrialFolder(results, trial.name)
    noise = np.random.default_rng(zlib.crc32(trial.name.encode()))
    history = []
    for epoch in range(1, epochs + 1):
        reached = accuracy * (1 - 0.6 * np.exp(-3 * epoch / epochs)) + noise.normal(0, 0.004)
        history += [Row(epoch, "train/loss", 1.0 / epoch)]
        history += [Row(epoch, "validation/accuracy", float(reached))]
    errors = {} if trial.quantizer.name == "float" else layers or {"stage1.conv1": 0.0}
    if errors:
        mean = float(np.mean(list(errors.values())))
        history += [Row(0, "discretization/train_deploy_gap", 0.9)]
        history += [
            Row(epochs, "discretization/train_deploy_gap", mean),
            Row(epochs, "discretization/latent_error", 0.25),
        ]
    history += [
        Row(epochs, "test/accuracy", accuracy),
        Row(epochs, "test/accuracy_training_forward", accuracy + gap),
        Row(epochs, "test/gap", gap),
        Row(epochs, "test/accuracy_reestimated", accuracy + 0.001),
    ]
    rows = [LayerRow(0, name, "discretization/train_deploy_gap", 0.9) for name in errors]
    rows += [
        LayerRow(epochs, n, "discretization/train_deploy_gap", value) for n, value in errors.items()
    ]
    rows += [LayerRow(epochs, n, "discretization/latent_error", 0.25) for n in errors]
    seconds = [PhaseRow(e, "train", train_seconds / epochs, 0.0) for e in range(1, epochs + 1)]
    seconds += [PhaseRow(epochs, "test", 1.0, 0.0)]
    folder.write_trial(trial, fingerprint(trial) if _registered(trial) else "0" * 8)
    folder.write_rows("history.parquet", history, Row)
    folder.write_rows("layers.parquet", rows, LayerRow)
    folder.write_rows("points.parquet", [], PointRow)
    folder.write_rows("seconds.parquet", seconds, PhaseRow)
    folder.write("deployed.safetensors", b"codes")
    folder.write_json("audit.json", AUDIT | {"refusal": refusal})
    folder.write_json("environment.json", ENVIRONMENT)
    folder.finish()
    return folder


def _registered(trial: Trial) -> bool:
    return trial.quantizer.name in ("float", "ste", "dorefa", "lsq")


def fill(results: Path, plan: Plan, accuracy: Accuracy, **more: Any) -> None:
    """Finish every trial of a plan."""
    for cell in plan.cells:
        write_trial(results, cell.trial, accuracy(cell), **more)
