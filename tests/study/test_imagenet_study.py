"""The ImageNet study as it is shipped, cut down to a few generated images, and trained."""

from pathlib import Path

import numpy as np
import pytest

from qbench.datasets.prepare import prepare
from qbench.store import TrialFolder
from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.plan import Plan
from qbench.study.select import select
from qbench.training.run import run_trial
from qbench.training.site import Site

STUDY = Path(__file__).parents[2] / "studies" / "imagenet_resnet18.yaml"
SMALL = (
    "data.sets=[{name: folder, options: {size: 32}}]", "data.validation=4",
    "models=[torchvision/resnet18]",  # without the file of pretrained weights
    "bits=[W1A32]", "resources.cpus=1", "training.reestimation_batches=1",
)  # fmt: skip


def cut_down() -> Plan:
    """The study with each row's own recipe, but for epochs and batch."""
    rows = load_study(STUDY).quantizers
    short = [
        f"quantizers.{index}.training.{setting}"
        for index in range(len(rows))
        for setting in ("epochs=1", "batch=4")
    ]
    return expand(load_study(STUDY, (*SMALL, *short)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``folder/train`` with 2 x 8 and ``folder/val`` with 2 x 4 images of 40x48 pixels."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "root" / "folder" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "root"


def test_the_shipped_study_asks_for_imagenet_and_a_file_of_weights() -> None:
    plan = expand(load_study(STUDY))
    trials = plan.trials().values()
    assert {trial.data.name for trial in trials} == {"imagenet"}
    assert {trial.model.name for trial in trials} == {"torchvision/resnet18"}
    assert all(trial.model.options["weights"] for trial in trials)
    assert all(rule.count for rule in plan.excluded)


@pytest.mark.slow  # a ResNet-18 of each row
def test_the_study_runs_on_a_small_image_folder(root: Path, tmp_path: Path) -> None:
    plan = select(cut_down(), "quantizer in ['metaquant', 'quantization_networks']")
    first, second = plan.trials().values()
    assert first.training.optimizer.name == "adam"  # MetaQuant's own recipe is what runs
    assert second.training.clip_gradient == 5  # and that of Quantization Networks
    images = prepare(first.data, root, tmp_path / "cache")
    for trial in (first, second):
        epochs = list(run_trial(trial, Site(results=tmp_path / "results", images=images)))
        folder = TrialFolder(tmp_path / "results", trial.name)
        assert folder.status() == "done", folder.failure()
        assert epochs[-1]["epoch"] == epochs[-1]["epochs"] == 1
        assert epochs[-1]["test/accuracy"] * 8 % 1 == 0  # of 8 test images
