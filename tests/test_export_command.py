"""The export command as a user types it, on a real trial."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from qbench.datasets.prepare import prepare
from qbench.deployment.compact import read_compact, restore
from qbench.deployment.load import load_deployed
from qbench.deployment.onnx_file import run_onnx
from qbench.export import command
from qbench.store import TrialFolder
from qbench.study.schema import Component, Optimizer, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.run import run_trial
from qbench.training.setup import float_network, prepare_experiment, quantized
from qbench.training.site import Site

DATA = TrialData(
    name="synthetic", options={"classes": 4, "size": 8, "channels": 1, "train": 160, "test": 60}
)
TRIALS = {
    bits: Trial(
        quantizer=Component(name="lsq" if bits == "W4A4" else "ste"),
        model=Component(name="resnet8"), data=DATA, bits=bits, seed=0,
        training=Training(epochs=2, batch=16, optimizer=Optimizer(learning_rate=0.1)),
    )
    for bits in ("W4A4", "W1A32")
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("export")
    return Site(results=folder / "results", images=prepare(DATA, folder, folder / "cache"))


@pytest.fixture(scope="module")
def folders(site: Site) -> dict[str, TrialFolder]:
    for trial in TRIALS.values():
        for _ in run_trial(trial, site):
            pass
    return {bits: TrialFolder(site.results, trial.name) for bits, trial in TRIALS.items()}


def export(folder: TrialFolder, path: Path, *words: str) -> Result:
    results = ["--results", str(folder.path.parent), "--output", str(path)]
    return CliRunner().invoke(command, [folder.name, *results, *words])


@pytest.mark.parametrize("bits", TRIALS)
def test_the_exported_codes_give_the_trials_test_set_the_same_logits(
    bits: str, folders: dict[str, TrialFolder], site: Site, tmp_path: Path
) -> None:
    folder, trial, path = folders[bits], TRIALS[bits], tmp_path / "deep" / "net.safetensors"
    done = export(folder, path, "--to", "safetensors")
    assert done.exit_code == 0, done.output
    assert "the same logits, bit for bit" in done.output
    loader = prepare_experiment(trial, site).loader
    network = read_compact(path.read_bytes())
    again = restore(network, quantized(float_network(trial, loader), trial)).eval()
    data = (folder.path / "deployed.safetensors").read_bytes()
    deployed = load_deployed(data, quantized(float_network(trial, loader), trial)).eval()
    with torch.no_grad():
        for images, _ in loader.test():
            assert torch.equal(again(images), deployed(images))
    assert path.stat().st_size < len(data)


@pytest.mark.parametrize("bits", TRIALS)
@pytest.mark.parametrize("norm", ["keep", "fold"])
def test_onnxruntime_gives_the_trials_test_set_the_same_classes(
    bits: str, norm: str, folders: dict[str, TrialFolder], site: Site, tmp_path: Path
) -> None:
    folder, trial, path = folders[bits], TRIALS[bits], tmp_path / "net.onnx"
    done = export(folder, path, "--to", "onnx", "--batch-norm", norm, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["bytes"] == path.stat().st_size
    assert told["folded"] == (7 if norm == "fold" else 0)  # convolutions of a ResNet-8
    assert told["same_top1"] == told["images"] == 32
    loader = prepare_experiment(trial, site).loader
    data = (folder.path / "deployed.safetensors").read_bytes()
    deployed = load_deployed(data, quantized(float_network(trial, loader), trial)).eval()
    with torch.no_grad():
        pairs = [
            (deployed(images), run_onnx(path.read_bytes(), images)) for images, _ in loader.test()
        ]
    expected, found = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert len(expected) == 60
    assert torch.equal(found.argmax(1), expected.argmax(1))
    error = (found - expected).abs().amax(1) / expected.abs().max()
    assert int((error > 1e-4).sum()) <= 3  # an input on the edge of two codes may take the other


def test_a_part_of_the_name_or_the_folder_is_enough(
    folders: dict[str, TrialFolder], tmp_path: Path
) -> None:
    folder = folders["W4A4"]
    for name in (folder.name.split("-")[-1], "w4a4", str(folder.path)):
        done = CliRunner().invoke(
            command, [name, "--to", "safetensors", "--results", str(folder.path.parent),
                      "--output", str(tmp_path / "net")],
        )  # fmt: skip
        assert done.exit_code == 0, done.output


def test_mistakes_are_one_sentence(folders: dict[str, TrialFolder], tmp_path: Path) -> None:
    results = folders["W4A4"].path.parent

    def refused(*words: str) -> str:
        done = CliRunner().invoke(command, [*words, "--results", str(results)])
        assert done.exit_code == 2
        assert done.output.count("\n") == 1
        return done.output

    near = folders["W4A4"].name[:-1] + "x"
    assert f"did you mean '{folders['W4A4'].name}'?" in refused(near, "--to", "onnx")
    assert "'resnet8' is a part of 2 trials" in refused("resnet8", "--to", "onnx")
    blocked = tmp_path / "file"
    blocked.write_text("")
    words = ("w4a4", "--to", "safetensors", "--output", str(blocked / "net"))
    assert "cannot be written" in refused(*words)
    (results / "cut-off").mkdir()
    (results / "cut-off" / "trial.json").write_text("{}")
    assert "the trial 'cut-off' is partial; run its study again" in refused(
        "cut-off", "--to", "safetensors"
    )
    (results / "cut-off" / "trial.json").unlink()


def test_a_missing_library_is_said_before_anything_slow(
    folders: dict[str, TrialFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = export(folders["W4A4"], tmp_path / "net", "--to", "onnx")
    assert done.exit_code == 2
    assert "pip install 'qbench-harness[onnx]'" in done.output
    assert not (tmp_path / "net").exists()
    assert export(folders["W4A4"], tmp_path / "net", "--to", "safetensors").exit_code == 0


def test_a_file_that_computes_something_else_is_not_called_well(
    folders: dict[str, TrialFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qbench import exporting

    monkeypatch.setattr(exporting, "run_onnx", lambda data, images: torch.randn(len(images), 4))
    done = export(folders["W4A4"], tmp_path / "net", "--to", "onnx")
    assert done.exit_code == 3
    assert "do not use the file" in done.output


def test_help_stands_under_both_names() -> None:
    for words in (["qbench.export", "--help"], ["qbench", "export", "--help"]):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
        assert done.returncode == 0
        assert "--batch-norm" in done.stdout
