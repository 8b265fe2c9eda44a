"""Seconds and memory of a report over 2,000 finished trials, whose numbers are made up."""

import zlib
from pathlib import Path

import numpy as np

from qbench.bench.launch import launch, write_study
from qbench.bench.outcome import Cell, Setting
from qbench.store import LayerRow, PhaseRow, PointRow, Row, TrialFolder
from qbench.study.expand import expand
from qbench.study.fingerprint import fingerprint
from qbench.study.load import load_study
from qbench.study.trial import Trial
from qbench.training.environment import describe_environment

__all__ = ["rows", "write_made_up"]

_LIMIT = 2 * 2**30
"""Bytes that a report may hold."""
_EPOCHS = 200
_LAYERS = 18  # quantized ones of ResNet-20
_AUDIT = {
    "coded_weights": 900, "coded_bytes": 250, "float_numbers": 100, "float_bytes": 750,
    "tensors": [], "refusal": "",
}  # fmt: skip


def write_made_up(results: Path, trial: Trial, epochs: int = _EPOCHS) -> None:
    """Write a finished trial with the series of a usual one."""
    draw = np.random.default_rng(zlib.crc32(trial.name.encode()))
    accuracy = float(draw.normal(0.8, 0.02))
    folder, trained = TrialFolder(results, trial.name), range(1, epochs + 1)
    history = [Row(epoch, "train/loss", 1.0 / epoch) for epoch in trained]
    history += [Row(epoch, "validation/accuracy", accuracy - 0.2 / epoch) for epoch in trained]
    for name, value in (
        ("test/accuracy", accuracy), ("test/accuracy_training_forward", accuracy),
        ("test/gap", 0.0), ("test/accuracy_reestimated", accuracy),
        ("discretization/latent_error", 0.25), ("discretization/train_deploy_gap", 0.0),
    ):  # fmt: skip
        history.append(Row(epochs, name, value))
    layers = [
        LayerRow(epoch, f"layer{layer}", "discretization/latent_error", float(draw.uniform()))
        for epoch in sorted({0, epochs // 2, epochs})
        for layer in range(_LAYERS)
    ]
    seconds = [PhaseRow(epoch, "train", 1.0, 1.7e9 + epoch) for epoch in trained]
    folder.write_trial(trial, fingerprint(trial))
    folder.write_rows("history.parquet", history, Row)
    folder.write_rows("layers.parquet", layers, LayerRow)
    folder.write_rows("points.parquet", [], PointRow)
    folder.write_rows("seconds.parquet", seconds, PhaseRow)
    folder.write("deployed.safetensors", b"codes")
    folder.write_json("audit.json", _AUDIT)
    facts = describe_environment("cpu", 1, 1.7e9, 1.7e9 + 60, "eager")
    folder.write_json("environment.json", facts)
    folder.finish()


def rows(folder: Path, setting: Setting) -> list[tuple[Cell, ...]]:
    """Make the trials, and time the command of the report."""
    study = write_study(
        "report", folder, quantizers=["ste", "dorefa", "lsq", "daq"],
        models=["resnet20", "vgg_small"], data={"sets": ["synthetic"]},
        bits=["W2A32", "W2A2", "W3A3", "W4A4", "W8A8"],
        seeds=list(range(1 if setting.quick else 50)), training={"epochs": _EPOCHS},
    )  # fmt: skip
    trials = expand(load_study(study, ())).trials().values()
    for trial in trials:
        write_made_up(folder / "made up", trial)
    took = launch(folder, "qbench.report", str(study), "--results", str(folder / "made up"))
    within = "within" if took.peak_bytes <= _LIMIT else "more than"
    return [
        (f"a report over {len(trials)} finished trials, the whole command", took.seconds, "s"),
        (f"its memory, {within} 2 GiB", took.peak_bytes / 2**30, "GiB"),
    ]
