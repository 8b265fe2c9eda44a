"""A trial that is killed again and again ends with the bits of one that was left alone."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_study import SAME

from qbench.datasets.prepare import prepare
from qbench.store import TrialFolder
from qbench.study.schema import Component, Optimizer, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.run import run_trial
from qbench.training.site import Site

pytestmark = pytest.mark.fault

DATA = TrialData(
    name="synthetic", options={"classes": 4, "size": 8, "channels": 1, "train": 160, "test": 64},
    validation=32,
)  # fmt: skip
KILLS = 5
EPOCHS = 6  # of 8 steps: 48, more than five kills can use up


def make_trial(quantizer: str, bits: str, model: str) -> Trial:
    return Trial(
        quantizer=Component(name=quantizer), model=Component(name=model),
        data=DATA, bits=bits, seed=0,
        training=Training(
            epochs=EPOCHS, batch=16, optimizer=Optimizer(learning_rate=0.05), reestimation_batches=2
        ),
    )  # fmt: skip


def die_at_call(owner: Any, name: str, number: int) -> None:
    """SIGKILL this process in the place of the n-th call of a method."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 10**6))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, call)


def attempt(trial: Trial, site: Site, where: str, number: int) -> None:
    from qbench.training.engine import Engine

    owner, name = {"step": (Engine, "step"), "write": (Path, "replace")}[where]
    die_at_call(owner, name, number)
    for _ in run_trial(trial, site):
        pass


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork"
)
@pytest.mark.parametrize(
    ("quantizer", "bits", "model", "where", "highest"),
    [
        ("lsq", "W2A2", "mlp", "step", 9),  # 5 kills within 9 steps each are 45 of 48
        ("ste", "W1A1", "mlp", "write", 9),  # in place of a rename: the file is written, not there
        # it draws random numbers; and a network with batch norm
        pytest.param("rq", "W4A4", "resnet8", "step", 9, marks=pytest.mark.slow),
        pytest.param("lsq", "W2A2", "resnet8", "write", 30, marks=pytest.mark.slow),
    ],
)
def test_a_trial_killed_five_times_ends_as_one_left_alone(
    tmp_path: Path, quantizer: str, bits: str, model: str, where: str, highest: int
) -> None:
    trial = make_trial(quantizer, bits, model)
    images = prepare(DATA, tmp_path / "images", tmp_path / "cache")
    whole, cut = (
        Site(tmp_path / name, images, checkpoint_seconds=0.02) for name in ("whole", "cut")
    )
    for _ in run_trial(trial, whole):
        pass
    assert TrialFolder(whole.results, trial.name).status() == "done"
    moments = random.Random(2026)  # any seed; this one makes a failure repeatable
    fork = multiprocessing.get_context("fork")  # torch is imported once for all
    for _ in range(KILLS):
        number = moments.randint(1, highest)
        process = fork.Process(target=attempt, args=(trial, cut, where, number))
        process.start()
        process.join(100)
        assert process.exitcode == -signal.SIGKILL
        assert TrialFolder(cut.results, trial.name).status() == "partial"
    for _ in run_trial(trial, cut):
        pass
    found, expected = (TrialFolder(site.results, trial.name) for site in (cut, whole))
    assert found.status() == "done"
    for name in SAME:
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes(), name
