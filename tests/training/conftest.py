"""Small real trials: learnable synthetic images, a real network, real files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qbench.datasets.prepare import prepare
from qbench.study.schema import Component, DiagnosticsSettings, Optimizer, Training
from qbench.study.trial import Trial, TrialData
from qbench.training.site import Site

DATA = TrialData(
    name="synthetic", options={"classes": 4, "size": 8, "channels": 1, "train": 160, "test": 60},
    validation=32,
)  # fmt: skip
TRAINING = Training(
    epochs=3, batch=16, optimizer=Optimizer(learning_rate=0.1), reestimation_batches=2
)
DIAGNOSTICS = DiagnosticsSettings.model_validate(
    {"of": ["economy", {"name": "flip_sets", "checkpoints": 3, "layers": 1, "options": {"sets": 4}},
            {"name": "output_gap", "checkpoints": 1}], "images": 16}
)  # fmt: skip


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    return prepare(DATA, root, root / "cache")


@pytest.fixture
def site(tmp_path: Path, images: Path) -> Site:
    return Site(results=tmp_path / "results", images=images)


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    def make(quantizer: str = "lsq", bits: str = "W4A4", **changes: object) -> Trial:
        settings: dict[str, object] = {
            "quantizer": Component(name=quantizer),
            "model": Component(name="resnet8"),
            "data": DATA,
            "bits": bits,
            "seed": 0,
            "training": TRAINING,
            "diagnostics": DIAGNOSTICS,
        }
        return Trial(**(settings | changes))

    return make
