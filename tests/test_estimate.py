"""What a plan says about cost comes from the seconds of trials that are done."""

from pathlib import Path

import pytest

from qbench.estimate import estimate_costs
from qbench.store import RESULT_FILES, PhaseRow, TrialFolder
from qbench.study.plan import Cell, Plan
from qbench.study.schema import DiagnosticsSettings, Study, Training
from qbench.study.trial import Trial


def trial(quantizer: str, diagnostics: object, epochs: int = 4, model: str = "resnet8") -> Trial:
    return Trial(
        quantizer=quantizer,
        model=model,
        data={"name": "digits"},
        bits="W4A32",
        seed=0,
        training=Training(epochs=epochs),
        diagnostics=DiagnosticsSettings.model_validate(diagnostics),
    )


def plan(*trials: Trial) -> Plan:
    study = Study(
        study="tiny", question="?", quantizers=["float"], models=["resnet8"],
        data={"sets": ["digits"]}, bits=["W4A32"],
    )  # fmt: skip
    return Plan(study=study, cells=tuple(Cell(one, one.quantizer.name) for one in trials))


def test_diagnostics_cost_what_a_measurement_cost_times_how_often_it_is_due(tmp_path: Path) -> None:
    asked = {"of": [{"name": "flip_sets", "checkpoints": 3, "layers": 5}]}
    done, longer = trial("lsq", asked), trial("lsq", asked, epochs=8)
    folder = TrialFolder(tmp_path, done.name)
    folder.write_trial(done, "c0de0001")
    rows = [("setup", 9.0), ("train", 20.0), ("validate", 4.0), ("diagnose/flip_sets", 6.0),
            ("diagnose", 0.4)]  # fmt: skip
    folder.write_rows("seconds.parquet", [PhaseRow(4, *row, 0.0) for row in rows], PhaseRow)
    for name in set(RESULT_FILES) - {"trial.json", "seconds.parquet"}:
        folder.write(name, b"")  # not read
    folder.finish()
    other = trial("ste", {"of": [{"name": "flip_sets", "every": 1, "layers": 5}, "margins"]})
    alien = trial("ste", "none", model="mlp")
    found = estimate_costs(plan(done, longer, other, alien), tmp_path, (done.name,))
    assert found[longer.name].training == pytest.approx(48)  # 24 s in 4 epochs; setup apart
    assert found[longer.name].diagnostics == pytest.approx(
        6.8
    )  # still three times, and 0.1 s an epoch
    assert found[other.name].diagnostics == pytest.approx(10.4)  # 2 s, after each of 0 to 4 epochs
    assert found[other.name].unknown == ("margins",)
    assert alien.name not in found
