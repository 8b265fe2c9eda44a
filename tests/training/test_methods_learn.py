"""Every method learns: two-bit weights on real digits, and one bit for both without NaN."""

import math
from functools import cache
from pathlib import Path

import pytest

from qbench import registry
from qbench.datasets.prepare import prepare
from qbench.store import TrialFolder
from qbench.study.schema import Component, DiagnosticsSettings, Optimizer, Schedule, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.run import run_trial
from qbench.training.site import Site

CONTROLS = {"float", "negative_control"}
METHODS = [
    name
    for name, entry in registry.quantizers.entries().items()
    if name not in CONTROLS and entry.facts["bits"]  # a family has none
]
DIGITS = TrialData(name="digits")
RECIPE = Training(
    epochs=10, batch=64, optimizer=Optimizer(learning_rate=0.1), schedule=Schedule(name="cosine"),
    clip_gradient=5, reestimation_batches=0,
)  # fmt: skip  # gradients are clipped as Quantization Networks needs it with activations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


def accuracy(folder: Path, quantizer: str, bits: str) -> dict[str, float]:
    own = registry.quantizers.entry(quantizer).facts["bits"]
    both = bits.endswith("A32") or "activation" in own
    trial = Trial(
        quantizer=Component(name=quantizer),
        activations=None if both else Component(name="ste"),
        model=Component(name="mlp", options={"width": 128, "depth": 3}),
        data=DIGITS,
        bits=bits,
        seed=0,
        training=RECIPE,
        diagnostics=DiagnosticsSettings(of=()),
    )
    list(run_trial(trial, Site(results=folder, images=images(folder))))
    rows = TrialFolder(folder, trial.name).read_table("history.parquet").to_pylist()
    return {row["name"]: row["value"] for row in rows}


@cache
def images(folder: Path) -> Path:
    return prepare(DIGITS, folder, folder / "cache")


def two_bits_at_least(name: str) -> int:
    return min(
        width for width in registry.quantizers.entry(name).facts["bits"]["weight"] if width > 1
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "ste"])
def test_two_bit_weights_are_within_three_points_of_ste(folder: Path, name: str) -> None:
    bits = f"W{two_bits_at_least(name)}A32"
    by_ste = accuracy(folder, "ste", bits)["test/accuracy"]
    assert accuracy(folder, name, bits)["test/accuracy"] > by_ste - 0.03


@pytest.mark.parametrize(
    "name",
    [name for name in METHODS if 1 in registry.quantizers.entry(name).facts["bits"]["weight"]],
)
def test_one_bit_for_weights_and_inputs_trains_without_nan(folder: Path, name: str) -> None:
    values = accuracy(folder, name, "W1A1")
    assert all(math.isfinite(value) for value in values.values())
    assert values["test/accuracy"] > 0.3  # ten classes: 0.1 by chance
