"""What a trial records of its training's cost, and that recording it changes nothing."""

import dataclasses
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qbench.quantizers.contract import Progress
from qbench.store import TrialFolder
from qbench.study.schema import DiagnosticsSettings
from qbench.study.trial import Trial
from qbench.training.allocator import keep_freed_memory
from qbench.training.cost import added_parameters, state_bytes
from qbench.training.engine import Engine, Inputs, Outcome, as_given
from qbench.training.environment import describe_environment, reset_peak_memory
from qbench.training.operators import count
from qbench.training.run import run_trial
from qbench.training.setup import prepare_experiment
from qbench.training.site import Site

MakeTrial = Callable[..., Trial]
NOTHING = DiagnosticsSettings(of=())
EPOCHS, STEPS = 3, 8  # of the trials of conftest.py: 128 images in batches of 16


def finish(trial: Trial, site: Site) -> TrialFolder:
    for _ in run_trial(trial, site):
        pass
    return TrialFolder(site.results, trial.name)


def cost(folder: TrialFolder) -> dict[str, int]:
    return folder.read_json("audit.json")["cost"]


@pytest.mark.parametrize(
    ("quantizer", "bits"),
    [
        ("float", "W32A32"),
        ("daq", "W1A1"),
        pytest.param("metaquant", "W2A32", marks=pytest.mark.slow),
        pytest.param("quantnet", "W1A32", marks=pytest.mark.slow),
    ],
)
def test_the_recorded_counts_are_those_of_a_step_in_the_middle_and_watching_changes_nothing(
    site: Site,
    make_trial: MakeTrial,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantizer: str,
    bits: str,
) -> None:
    trial = make_trial(quantizer, bits, diagnostics=NOTHING)
    folder = finish(trial, site)
    seen, steps, real = {}, itertools.count(), Engine.step

    def watched(engine: Engine, picked: Inputs, progress: Progress) -> Outcome:
        step, results, fetch = next(steps), [], engine.fetch
        if step >= EPOCHS * STEPS:  # the one after them is the one that the trial counts itself
            return real(engine, picked, progress)
        batch, engine.fetch = fetch(*picked), as_given  # input is not counted
        work = lambda: results.append(real(engine, batch, progress))  # noqa: E731
        seen[step] = count(work, engine.optimizers)
        engine.fetch = fetch
        return results[0]

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", watched)
        again = finish(trial, dataclasses.replace(site, results=tmp_path / "watched"))
    middle = seen[EPOCHS * STEPS // 2]
    recorded = cost(folder)
    assert (recorded["kernels"], recorded["host_syncs"]) == (middle.kernels, middle.host_syncs)
    for name in ("history.parquet", "deployed.safetensors", "audit.json"):
        assert (again.path / name).read_bytes() == (folder.path / name).read_bytes()


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_trial_that_was_cut_off_records_the_same_cost(
    site: Site, make_trial: MakeTrial, tmp_path: Path, epochs: int
) -> None:
    trial = make_trial("metaquant", "W2A32", diagnostics=NOTHING)  # with an Adam of its own
    whole = finish(trial, site)
    cut = dataclasses.replace(site, results=tmp_path / "cut", checkpoint_seconds=1e-9)
    running = run_trial(trial, cut)
    for _ in itertools.islice(running, epochs):
        pass
    running.close()
    assert cost(finish(trial, cut)) == cost(whole)


@pytest.mark.parametrize(
    ("quantizer", "bits", "added"),
    [
        ("float", "W32A32", 0),
        ("ste", "W2A2", 0),
        ("lsq", "W4A4", 6 * 2),  # a step for the weight and the input of six inner convolutions
        ("metaquant", "W2A32", 100 + 100),  # one meta network of two layers for all of them
    ],
)
def test_parameters_that_quantizers_add_are_counted_once(
    site: Site, make_trial: MakeTrial, quantizer: str, bits: str, added: int
) -> None:
    model = prepare_experiment(make_trial(quantizer, bits), site).model
    assert sum(part.numel() for part in added_parameters(model)) == added
    assert all(part.requires_grad for part in added_parameters(model))


def test_the_state_of_training_is_parameters_buffers_and_momentum() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(layer.parameters(), momentum=0.9)
    numbers, buffers = 4 * 3 + 3 + 2 * 3, 4 * 2 * 3 + 8  # mean, variance; a counter of int64
    assert state_bytes(layer, [optimizer]) == 4 * numbers + buffers
    layer(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    assert state_bytes(layer, [optimizer]) == 2 * 4 * numbers + buffers


def test_a_step_that_cannot_be_watched_costs_no_result(
    site: Site, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("an operator that a dispatch mode cannot watch")

    monkeypatch.setattr("qbench.training.cost.count", refuse)
    folder = finish(make_trial("lsq", "W2A2"), site)
    assert folder.status() == "done"
    assert cost(folder)["kernels"] is None
    assert cost(folder)["macs"] > 0


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux can let a process's peak start anew"
)
def test_the_peak_memory_is_the_trials_own() -> None:
    large = torch.ones(2**26)  # 256 MiB, all of it written
    before = describe_environment("cpu", 1, 0.0, 1.0, "eager")["peak_memory_bytes"]
    del large
    keep_freed_memory()  # as at the start of a trial: it gives back what the last one kept
    reset_peak_memory("cpu")
    facts = describe_environment("cpu", 1, 0.0, 1.0, "eager")
    assert facts["peak_memory_bytes"] < before - 2**27
    assert facts["peak_memory_is_own"] is True
