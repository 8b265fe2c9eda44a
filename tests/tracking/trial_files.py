"""Result folders as training leaves them, made in a moment."""

import math

from qbench.store import Failure, LayerRow, PhaseRow, PointRow, Row, TrialFolder
from qbench.study.plan import Cell, Plan
from qbench.study.schema import Bits, Study
from qbench.study.trial import Trial

BEGUN = 1_700_000_000.25  # any Unix time with a fraction
NAMES = (
    "train/loss",
    "train/accuracy",
    "validation/loss",
    "validation/accuracy",
    "learning_rate",
    "discretization/train_deploy_gap",
    "discretization/latent_error",
    "dynamics/flip_rate",
    "output/accuracy_gap",
)
TESTS = ("test/accuracy", "test/loss", "test/accuracy_training_forward", "test/gap")


def make_trial(quantizer="lsq", seed=0, bits="W4A32", model="resnet8", **more):
    return Trial(
        quantizer={"name": quantizer, "options": more.pop("options", {})},
        model=model,
        data={"name": "digits"},
        bits=Bits.model_validate(bits),
        seed=seed,
        **more,
    )


def make_plan(*trials, study="tiny"):
    return Plan(
        study=Study(
            study=study,
            question="Which quantizer loses least?",
            quantizers=["float", "lsq"],
            models=["resnet8"],
            data={"sets": ["digits"]},
            bits=["W4A32"],
        ),
        cells=tuple(Cell(trial, trial.quantizer.name) for trial in trials),
    )


def curve(name, epoch, seed=0):
    rising = "accuracy" in name
    return 1 - 0.7 * math.exp(-epoch / 4) - 0.01 * seed if rising else math.exp(-epoch / 4) + seed


def write_epochs(results, trial, last, *, begun=BEGUN, epochs=None, change=None):
    """The files of a checkpoint after epoch ``last``."""
    folder = TrialFolder(results, trial.name)
    folder.write_trial(trial, "c0de0001")
    rows = [
        Row(epoch, name, curve(name, epoch, trial.seed))
        for epoch in range(1, last + 1)
        for name in NAMES
    ]
    if change is not None:
        rows = change(rows)
    folder.write_rows("history.parquet", rows, Row)
    phases = [
        PhaseRow(epoch, phase, seconds, begun + epoch)
        for epoch in range(last + 1)
        for phase, seconds in (("train", 0.8), ("evaluate", 0.15))
    ]
    folder.write_rows("seconds.parquet", phases, PhaseRow)
    return folder, rows, phases


def finish(results, trial, last=5, *, begun=BEGUN, change=None):
    """The files of a trial that is done."""
    folder, rows, phases = write_epochs(results, trial, last, begun=begun, change=change)
    tests = [Row(last, name, curve(name, last, trial.seed)) for name in TESTS]
    folder.write_rows("history.parquet", [*rows, *tests], Row)
    layers = [LayerRow(last, "conv1", "discretization/train_deploy_gap", 0.1)]
    folder.write_rows("layers.parquet", layers, LayerRow)
    folder.write_rows("points.parquet", [], PointRow)
    late = [PhaseRow(last, "deploy", 0.2, begun + last + 0.4)]  # after the last epoch's own phases
    folder.write_rows("seconds.parquet", [*phases, *late], PhaseRow)
    folder.write("deployed.safetensors", b"codes")
    facts = {"commit": "0123456789ab", "device": "cpu", "machine": {"host": "here"}}
    folder.write_json("audit.json", {"refusal": "", "coded_bytes": 4, "float_bytes": 1})
    folder.write_json("environment.json", facts)
    folder.finish()
    return folder


def fail(results, trial, reason="diverged", message="the loss is nan in epoch 2"):
    folder = TrialFolder(results, trial.name)
    folder.fail(Failure(reason, message, "Traceback"))
    return folder


VALIDATIONS = 2  # validation/loss and validation/accuracy are told as final values too
COSTS = 5  # seconds of train, evaluate, deploy and in all; bytes deployed


def logged_points(epochs):
    return epochs * len(NAMES) + len(TESTS) + VALIDATIONS + COSTS
