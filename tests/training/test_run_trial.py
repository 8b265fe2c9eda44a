"""A trial from start to end: what it writes, how it continues, how it fails."""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qbench.datasets.prepare import open_images
from qbench.deployment.load import load_deployed
from qbench.models.evaluation import evaluate
from qbench.store import TrialFolder
from qbench.study.schema import DiagnosticsSettings, Optimizer
from qbench.study.trial import Trial
from qbench.training.run import run_trial
from qbench.training.setup import float_network, prepare_experiment, quantized
from qbench.training.site import Site

SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")
MakeTrial = Callable[..., Trial]
LeftAlone = Callable[[Trial], TrialFolder]
pytestmark = pytest.mark.long


def finish(trial: Trial, site: Site) -> TrialFolder:
    for _ in run_trial(trial, site):
        pass
    return TrialFolder(site.results, trial.name)


@pytest.fixture(scope="module")
def left_alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> LeftAlone:
    """What a trial leaves that nothing interrupts, in a worker of its own results."""
    site = Site(results=tmp_path_factory.mktemp("alone"), images=images)
    found: dict[str, TrialFolder] = {}

    def finished(trial: Trial) -> TrialFolder:
        if trial.name not in found:
            found[trial.name] = finish(trial, site)
        return found[trial.name]

    return finished


def files(folder: TrialFolder) -> dict[str, bytes]:
    return {name: (folder.path / name).read_bytes() for name in SAME}


def history(folder: TrialFolder) -> dict[tuple[int, str], float]:
    rows = folder.read_table("history.parquet").to_pylist()
    named = {(row["epoch"], row["name"]): row["value"] for row in rows}
    assert len(named) == len(rows), "a value is written twice"
    return named


def test_a_trial_learns_and_leaves_every_file(left_alone: LeftAlone, make_trial: MakeTrial) -> None:
    trial = make_trial()
    folder = left_alone(trial)
    assert folder.status() == "done"
    assert folder.damaged() == []
    values = history(folder)
    assert values[3, "test/accuracy"] > 0.8  # four classes: 0.25 by chance
    assert values[3, "train/loss"] < values[1, "train/loss"]
    assert {(epoch, "validation/accuracy") for epoch in (1, 2, 3)} <= set(values)

    def measured(name: str) -> set[int]:
        return {epoch for epoch, found in values if found == name}

    assert measured("discretization/latent_error") == {0, 1, 2, 3}  # each epoch
    assert measured("gradient/flip_set_r_1pct") == {0, 2, 3}  # three checkpoints; 1.5 is 2
    assert measured("dynamics/flip_rate") == {1, 2, 3}  # the window is at an epoch's end
    layers = folder.read_table("layers.parquet").to_pylist()
    rates = [
        row["value"] for row in layers if row["epoch"] == 3 and row["name"] == "dynamics/flip_rate"
    ]
    assert sum(rates) / len(rates) == pytest.approx(values[3, "dynamics/flip_rate"])
    points = folder.read_table("points.parquet").to_pylist()
    assert {row["epoch"] for row in points if row["name"] == "gradient/flip_set_1pct"} == {0, 2, 3}
    phases = {row["phase"] for row in folder.read_table("seconds.parquet").to_pylist()}
    assert {"setup", "train", "validate", "diagnose", "checkpoint", "deploy", "test"} <= phases
    assert "diagnose/flip_sets" in phases
    assert folder.read_json("trial.json")["trial"] == trial.model_dump(mode="json")


def test_the_reported_accuracy_is_that_of_the_file(site: Site, make_trial: MakeTrial) -> None:
    trial = make_trial("ste", "W2A2")
    folder = finish(trial, site)
    loader = prepare_experiment(trial, site).loader
    network = quantized(float_network(trial, loader), trial)
    deployed = load_deployed((folder.path / "deployed.safetensors").read_bytes(), network)
    loss, accuracy = evaluate(deployed, loader.test(), "deployed")
    values = history(folder)
    assert accuracy == values[3, "test/accuracy"]
    assert loss == pytest.approx(values[3, "test/loss"], rel=1e-6)  # another memory format
    assert values[3, "test/gap"] == 0  # the training forward of this method is hard


def test_a_worker_that_ran_other_trials_writes_the_same(
    left_alone: LeftAlone, site: Site, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = make_trial()
    first = files(left_alone(trial))
    other = dataclasses.replace(site, results=tmp_path / "other")
    finish(make_trial("ste", "W1A1", seed=3), other)
    torch.manual_seed(123)  # whatever the worker drew meanwhile
    torch.rand(7)
    assert files(finish(trial, other)) == first


@pytest.mark.fault
@pytest.mark.parametrize(
    "epochs",
    [0, pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
)
def test_a_trial_that_is_cut_off_continues_bit_for_bit(
    left_alone: LeftAlone, site: Site, make_trial: MakeTrial, tmp_path: Path, epochs: int
) -> None:
    trial = make_trial("lsq", "W2A2")
    whole = files(left_alone(trial))
    cut = dataclasses.replace(site, results=tmp_path / "cut", checkpoint_seconds=1e-9)
    running = run_trial(trial, cut)
    for _ in itertools.islice(running, epochs):
        pass
    running.close()
    folder = TrialFolder(cut.results, trial.name)
    assert folder.status() == ("partial" if epochs else "missing")
    assert files(finish(trial, cut)) == whole
    assert history(folder)


@pytest.mark.fault
def test_a_trial_continues_inside_an_epoch(
    left_alone: LeftAlone,
    site: Site,
    make_trial: MakeTrial,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qbench.training.engine import Engine

    trial = make_trial()
    whole = files(left_alone(trial))
    cut = dataclasses.replace(site, results=tmp_path / "cut", checkpoint_seconds=1e-9)
    steps, real = itertools.count(1), Engine.step

    def step(*arguments: object) -> object:
        if next(steps) == 11:  # eight steps an epoch: in the middle of the second
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(Engine, "step", step)
    with pytest.raises(KeyboardInterrupt):
        finish(trial, cut)
    monkeypatch.undo()
    state = torch.load(cut.results / trial.name / "checkpoint.pt", weights_only=True)["state"]
    assert (state["epoch"], state["batch"]) == (1, 2)
    assert files(finish(trial, cut)) == whole


def test_a_checkpoint_keeps_of_an_epochs_last_steps_only_what_is_still_needed(
    site: Site, make_trial: MakeTrial
) -> None:
    folder = finish(make_trial("ste", "W2A2"), site)
    kept = torch.load(folder.path / "checkpoint.pt", weights_only=True)["state"]["memory"]
    assert {name.split("/")[0] for name in kept} == {"flip_rate"}


@pytest.mark.fault
def test_a_checkpoint_of_other_code_or_a_cut_off_one_is_not_continued(
    left_alone: LeftAlone, site: Site, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = make_trial()
    whole = files(left_alone(trial))
    for number, damage in enumerate((b"", b"PK\x03\x04 not a checkpoint")):
        cut = dataclasses.replace(site, results=tmp_path / f"cut{number}")
        running = run_trial(trial, dataclasses.replace(cut, checkpoint_seconds=1e-9))
        next(running)
        running.close()
        (cut.results / trial.name / "checkpoint.pt").write_bytes(damage)
        assert files(finish(trial, cut)) == whole


def test_a_start_from_the_float_trial_takes_its_weights(site: Site, make_trial: MakeTrial) -> None:
    reference = make_trial("float", "W32A32")
    dependent = make_trial("ste", "W8A32", start=f"trial:{reference.name}")
    assert finish(dependent, site).failure().reason == "start failed"
    finish(reference, site)
    network = prepare_experiment(dependent, site).model
    trained = load_deployed(
        (site.results / reference.name / "deployed.safetensors").read_bytes(),
        float_network(reference, prepare_experiment(reference, site).loader),
    )
    for name, value in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert finish(dependent, site).status() == "done"


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_start_from_a_file_takes_its_weights(
    site: Site, make_trial: MakeTrial, tmp_path: Path, ending: str
) -> None:
    trial = make_trial("lsq", "W8A32", start="file:0123")
    state = prepare_experiment(make_trial("float", "W32A32", seed=9), site).model.state_dict()
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(state, path)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    placed = dataclasses.replace(site, start_file=path)
    model = prepare_experiment(trial, placed).model
    for name, value in state.items():
        assert torch.equal(model.state_dict()[name], value), name
    path.write_bytes(path.read_bytes()[:100])
    failure = finish(trial, placed).failure()
    assert failure.reason == "start failed"
    assert path.name in failure.message


def test_every_quantizer_starts_from_the_same_network(site: Site, make_trial: MakeTrial) -> None:
    networks = [
        prepare_experiment(make_trial(name, bits), site).model.state_dict()
        for name, bits in (("ste", "W1A32"), ("lsq", "W4A4"), ("float", "W32A32"))
    ]
    for name, value in networks[2].items():
        assert torch.equal(networks[0][name], value)
        assert torch.equal(networks[1][name], value)


@pytest.mark.fault
def test_a_trial_that_diverges_is_recorded(site: Site, make_trial: MakeTrial) -> None:
    recipe = make_trial().training.model_copy(update={"optimizer": Optimizer(learning_rate=1e30)})
    folder = finish(make_trial(training=recipe), site)
    assert folder.status() == "failed"
    assert folder.failure().reason == "diverged"
    assert "epoch" in folder.failure().message


@pytest.mark.fault
@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (ZeroDivisionError("a plug-in divides by zero"), "error"),
    ],
)
def test_whatever_a_method_raises_is_recorded(
    site: Site,
    make_trial: MakeTrial,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    reason: str,
) -> None:
    def fail(*_: object) -> None:
        raise raised

    trial = make_trial(diagnostics=DiagnosticsSettings(of=()))
    with monkeypatch.context() as patched:
        patched.setattr("qbench.training.engine.Engine.step", fail)
        folder = finish(trial, site)
    assert folder.failure().reason == reason
    assert "Traceback" in folder.failure().details
    if reason == "out of memory":
        assert re.search(r"held \d+\.\d GiB at its peak", folder.failure().message)
        assert "training.batch" in folder.failure().message
    assert finish(trial, site).status() == "done"  # and a failed one can be run again
    assert not (folder.path / "failed.json").exists()


def test_the_environment_is_recorded(
    left_alone: LeftAlone, site: Site, make_trial: MakeTrial
) -> None:
    facts = json.loads((left_alone(make_trial()).path / "environment.json").read_text())
    images = open_images(site.images)
    assert facts["data"] == {
        "name": "synthetic", "digest": images.digest, "source": images.source,
    }  # fmt: skip
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    assert facts["device"] == "cpu"
    assert facts["finished"] >= facts["started"]
    assert facts["peak_memory_bytes"] > 0
