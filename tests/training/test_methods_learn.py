"""Every method learns: few-bit weights on real digits, and one bit for both without NaN."""

import math
from collections.abc import Iterable, Set
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from short_run import CORE, IN_SHORT, marks

from qbench import registry
from qbench.datasets.prepare import prepare
from qbench.store import TrialFolder
from qbench.study.schema import Component, DiagnosticsSettings, Optimizer, Schedule, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.run import run_trial
from qbench.training.site import Site

UNTRAINED = {"reference", "control", "post-training"}
KINDS = {
    name: registry.quantizers.load(name)
    for name, entry in registry.quantizers.entries().items()
    if entry.facts["bits"]  # a family of names has none
}
METHODS = [name for name, kind in KINDS.items() if kind.family not in UNTRAINED]
DIGITS = TrialData(name="digits")
RECIPE = Training(
    epochs=10, batch=64, optimizer=Optimizer(learning_rate=0.1), schedule=Schedule(name="cosine"),
    clip_gradient=5, reestimation_batches=0,
)  # fmt: skip  # gradients are clipped as Quantization Networks needs it with activations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


def accuracy(folder: Path, quantizer: str, bits: str) -> dict[str, float]:
    kind = KINDS[quantizer]
    both = bits.endswith("A32") or "activation" in kind.bits
    layers = {"activation": "hardtanh"} if kind.signed_inputs and not bits.endswith("A32") else {}
    trial = Trial(
        quantizer=Component(name=quantizer),
        activations=None if both else Component(name="ste"),
        model=Component(name="mlp", options={"width": 128, "depth": 3} | layers),
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


def each(names: Iterable[str], short: Set[str] = IN_SHORT) -> Any:
    cases = [pytest.param(name, marks=marks(name, short)) for name in names]
    return pytest.mark.parametrize("name", cases)


@each(name for name in METHODS if name != "ste")
def test_weights_of_few_bits_are_close_to_those_of_ste(folder: Path, name: str) -> None:
    width = min(KINDS[name].bits["weight"], key=lambda width: (width == 1, width))
    by_ste = accuracy(folder, "ste", f"W{width}A32")["test/accuracy"]
    # signs are harder, and so is noise in place of rounding: the recipe is no method's own
    harder = width == 1 or KINDS[name].stochastic
    allowed = 0.06 if harder else 0.03
    assert accuracy(folder, name, f"W{width}A32")["test/accuracy"] > by_ste - allowed


@each((name for name in METHODS if 1 in KINDS[name].bits["weight"]), short=CORE)
def test_one_bit_for_weights_and_inputs_trains_without_nan(folder: Path, name: str) -> None:
    values = accuracy(folder, name, "W1A1")
    assert all(math.isfinite(value) for value in values.values())
    assert values["test/accuracy"] > 0.3  # ten classes: 0.1 by chance
