from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name
from trial_files import BEGUN, finish, make_trial, write_epochs

from qbench.store import PhaseRow, Row, TrialFolder
from qbench.study.plan import Cell
from qbench.study.schema import Component
from qbench.study.trial import TrialData
from qbench.tracking.content import (
    escaped,
    group_name,
    parameters,
    run_name,
    safe_name,
    shared,
    tuned_rounds,
)
from qbench.tracking.history import read_history


@given(st.text(max_size=300))
def test_every_safe_name_is_one_that_mlflow_takes(name):
    _validate_metric_name(safe_name(name))
    assert len(safe_name(name)) <= 250  # MLflow's limit


def test_name_that_mlflow_takes_stays():
    assert safe_name("final/test/accuracy_re-estimated") == "final/test/accuracy_re-estimated"


def test_parameters_are_axes_and_what_differs():
    trial = make_trial(
        "lsq",
        seed=3,
        options={"slope": 2.0},
        start="trial:some-float-trial",
        activations={"name": "dorefa", "options": {"clip": 3}},
        training={"epochs": 7, "optimizer": {"name": "adam", "weight_decay": 0}, "batch": 16},
    )
    assert parameters(trial) == {
        "quantizer": "lsq",
        "model": "resnet8",
        "data": "digits",
        "weight_bits": "4",
        "activation_bits": "32",
        "seed": "3",
        "start": "float",
        "epochs": "7",
        "batch": "16",
        "optimizer": "adam",
        "learning_rate": "0.1",
        "quantizer.slope": "2.0",
        "activations.name": "dorefa",
        "activations.clip": "3",
        "optimizer.weight_decay": "0.0",
    }


def test_diagnostics_are_one_short_parameter():
    trial = make_trial(diagnostics={"of": [{"name": "flip_rate", "every": 5}, "margins"]})
    assert parameters(trial)["diagnostics"] == "flip_rate, margins"


def test_a_run_name_leaves_out_what_all_share():
    first = make_trial("daq", bits="W1A32")
    data = first.model_copy(update={"data": TrialData(name="synthetic")})
    component = Component(name="resnet8", options={"activation": "hardtanh"})
    model = first.model_copy(update={"model": component})
    for trials, name in (
        ([first], "daq, T=2 · resnet8 · W1A32 · seed 0"),
        ([model], "daq, T=2 · resnet8 · W1A32 · seed 0"),
        ([first, data], "daq, T=2 · resnet8 · digits · W1A32 · seed 0"),
        ([model, first], "daq, T=2 · resnet8 (activation=hardtanh) · W1A32 · seed 0"),
    ):
        assert run_name(trials[0], "daq, T=2", shared(trials)) == name


def test_a_trial_of_a_search_has_its_number_after_the_setting():
    trial = make_trial("daq", bits="W1A32", seed=1001)
    label = "daq, T=2 [search 2.5]"
    assert run_name(trial, label) == "daq, T=2 · resnet8 · W1A32 · search 2.5 · seed 1001"
    assert group_name(trial, label) == "daq, T=2 · resnet8 · W1A32 · search 2"


def test_final_trials_of_two_rounds_have_two_names():
    trials = [make_trial("daq", options={"temperature": number}) for number in (1, 2, 3)]
    rounds = ((trials[0], 1), (trials[1], 2), (trials[0], 3), (trials[2], 0))
    cells = tuple(Cell(trial, "daq", round=number) for trial, number in rounds)
    told = tuned_rounds(SimpleNamespace(cells=cells))
    names = {run_name(t, "daq", rounds=told.get(t.name, "")) for t in trials}
    start = "daq · resnet8 · W4A32 · seed 0"
    assert names == {f"{start} · round 1, 3", f"{start} · round 2", start}


def test_signs_of_markdown_are_shown():
    assert escaped("a*b_c [1] <i>|") == r"a\*b\_c \[1\] \<i\>\|"


def test_a_trial_without_files_has_no_history(tmp_path):
    assert read_history(TrialFolder(tmp_path, "none")).series == ()


def test_time_of_a_point_does_not_move_when_its_epoch_gets_another_phase(tmp_path):
    trial = make_trial()
    before, _, _ = write_epochs(tmp_path, trial, 3)
    early = read_history(before).series
    after = finish(tmp_path, trial, 3)  # adds a phase "deploy" to epoch 3, 0.4 s later
    assert read_history(after).series == early
    assert {point.milliseconds for point in early if point.step == 3} == {round((BEGUN + 3) * 1000)}


def test_rows_of_an_epoch_wait_until_its_time_is_written(tmp_path):
    folder = TrialFolder(tmp_path, "cut-off")
    folder.write_rows("history.parquet", [Row(1, "a", 1.0), Row(2, "a", 2.0)], Row)
    folder.write_rows("seconds.parquet", [PhaseRow(1, "train", 0.5, BEGUN)], PhaseRow)
    history = read_history(folder)
    assert [(point.step, point.value) for point in history.series] == [(1, 1.0)]
    assert history.last_epoch == 1


def test_costs_are_totals_by_phase(tmp_path):
    folder = TrialFolder(tmp_path, "costs")
    phases = [PhaseRow(epoch, "train", 0.5, BEGUN + epoch) for epoch in (1, 2)]
    phases.append(PhaseRow(2, "test set", 0.25, BEGUN + 3))
    folder.write_rows("seconds.parquet", phases, PhaseRow)
    told = {point.key: point.value for point in read_history(folder).finals}
    assert told == {
        "cost/total_seconds": pytest.approx(1.25),
        "cost/train_seconds": pytest.approx(1.0),
        "cost/test set_seconds": pytest.approx(0.25),
    }


def test_what_the_files_count_is_told_before_minor_phases(tmp_path):
    folder = finish(tmp_path, make_trial(), 2)
    cost = {"bops": 123_456_789, "kernels": None, "macs": 1000, "flops": 400,
            "weight_bits": 1.5, "activation_bits": 32, "uncounted_layers": ["x"]}  # fmt: skip
    folder.write_json("audit.json", {"coded_bytes": 250, "float_bytes": 750, "cost": cost})
    folder.write_json("environment.json", {"peak_memory_bytes": 2**20})
    finals = read_history(folder).finals
    told = [(point.key, point.value) for point in finals if point.key.startswith("cost/")]
    assert told == [
        ("cost/total_seconds", pytest.approx(3 * 0.95 + 0.2)),  # epochs 0 to 2, and deploying
        ("cost/train_seconds", pytest.approx(3 * 0.8)),
        ("cost/bops", 123_457_000),  # to six digits
        ("cost/flops", 400),
        ("cost/macs", 1000),
        ("cost/weight_bits", 1.5),
        ("cost/activation_bits", 32),
        ("cost/peak_memory_bytes", 1_048_580),
        ("cost/deployed_bytes", 1000),
        ("cost/evaluate_seconds", pytest.approx(3 * 0.15)),
    ]


def test_single_values_have_no_epoch_and_the_accuracy_is_first(tmp_path):
    finals = read_history(finish(tmp_path, make_trial(), 7)).finals
    assert {point.step for point in finals} == {0}
    assert finals[0].key == "final/test/accuracy"
