"""Whatever result files hold, a trial is done, or it is counted with a reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fault_study import trials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import EDITS, VALUES, broken, replaced

from qbench.planning import describe_plan, plan_lines
from qbench.reporting.collect import STATES, read_trial
from qbench.reporting.report import write_report
from qbench.standing import look
from qbench.store import RESULT_FILES, TrialFolder
from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.plan import Plan

pytestmark = pytest.mark.fault

NAMES = [*RESULT_FILES, "done", "failed.json", "checkpoint.pt"]
JSON = [name for name in RESULT_FILES if name.endswith(".json")]
FUZZ = {"deadline": None, "derandomize": True, "database": None,
        "suppress_health_check": list(HealthCheck)}  # fmt: skip


class Broken:
    """A finished study of which one trial is broken, again and again."""

    def __init__(self, whole: Path, folder: Path) -> None:
        shutil.copytree(whole, folder)
        self.folder, self.results = folder, folder / "results"
        self.plan: Plan = expand(load_study(folder / "small.yaml"))
        (self.place,) = [trial for trial in trials(folder) if "-lsq-" in trial.name]
        self.trial = self.plan.trials()[self.place.name]
        self.files = {file.name: file.read_bytes() for file in self.place.iterdir()}
        self.count = 0

    def restore(self) -> None:
        for name in NAMES:
            if name in self.files:
                (self.place / name).write_bytes(self.files[name])
            else:
                (self.place / name).unlink(missing_ok=True)

    def read(self, *, report: bool) -> str:
        """The state in which the trial is shown; whatever is raised here is a crash."""
        standing = look(self.plan, self.results)
        plan_lines(describe_plan(self.plan, standing, self.results), self.results)
        found = read_trial(self.trial, self.results)
        assert found.state in STATES
        assert found.state == "done" or found.message
        assert "\n" not in found.message
        if report:
            made = write_report(self.plan, self.results, self.folder / "report", ["csv"], {})
            table = (self.folder / "report" / "results.csv").read_text()
            assert made.table_text
            assert found.state == "done" or found.state in table
        return found.state


@pytest.mark.parametrize("count", [60, pytest.param(2500, marks=pytest.mark.slow)])
def test_files_that_are_not_as_recorded_are_never_results(
    left_alone: Path, tmp_path: Path, count: int
) -> None:
    study = Broken(left_alone, tmp_path / "study")

    @settings(max_examples=count, **FUZZ)  # type: ignore[arg-type]
    @given(name=st.sampled_from(NAMES), edits=EDITS)
    def check(name: str, edits: list[tuple[str, float, float, bytes]]) -> None:
        study.restore()
        whole = study.files.get(name, b'{"reason": "diverged", "message": "m", "details": ""}')
        (study.place / name).write_bytes(broken(whole, edits))
        if name == "failed.json":
            (study.place / "done").unlink()
        study.count += 1
        state = study.read(report=study.count % 50 == 0)
        left = (study.place / name).read_bytes()
        changed = left != whole
        if name in ("done", "failed.json"):  # of which no size is recorded
            changed = left.rstrip() != whole.rstrip()
        read = name not in (
            "checkpoint.pt",
            "failed.json",
            "deployed.safetensors",
            "points.parquet",
        )
        if changed and read and name != "done":
            assert state == "damaged"
        elif name == "checkpoint.pt" or not changed:
            assert state == ("failed" if name == "failed.json" else "done")

    check()


@pytest.mark.parametrize("count", [20, pytest.param(1500, marks=pytest.mark.slow)])
def test_broken_files_that_were_recorded_so_are_named(
    left_alone: Path, tmp_path: Path, count: int
) -> None:
    study = Broken(left_alone, tmp_path / "study")

    @settings(max_examples=count, **FUZZ)  # type: ignore[arg-type]
    @given(name=st.sampled_from(RESULT_FILES), edits=EDITS)
    def check(name: str, edits: list[tuple[str, float, float, bytes]]) -> None:
        study.restore()
        (study.place / name).write_bytes(broken(study.files[name], edits))
        TrialFolder(study.results, study.place.name).finish()
        study.count += 1
        study.read(report=study.count % 10 == 0)

    check()


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_facts_of_other_types_are_named(left_alone: Path, tmp_path: Path, count: int) -> None:
    study = Broken(left_alone, tmp_path / "study")

    @settings(max_examples=count, **FUZZ)  # type: ignore[arg-type]
    @given(name=st.sampled_from(JSON), share=st.floats(0, 1), new=VALUES, delete=st.booleans())
    def check(name: str, share: float, new: Any, delete: bool) -> None:
        study.restore()
        facts = replaced(json.loads(study.files[name]), share, new, delete=delete)
        folder = TrialFolder(study.results, study.place.name)
        folder.write(name, json.dumps(facts).encode())
        folder.finish()
        study.count += 1
        study.read(report=study.count % 5 == 0)

    check()
