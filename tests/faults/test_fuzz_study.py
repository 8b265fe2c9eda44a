"""Whatever a study file holds, it is a study or one sentence."""

from pathlib import Path

import pytest
from fault_study import STUDY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import EDITS, broken

from qbench.errors import UsageError
from qbench.study.expand import expand
from qbench.study.load import load_study

ROOT = Path(__file__).parents[2]
STUDIES = [
    STUDY.encode(),
    *(path.read_bytes() for path in sorted((ROOT / "studies").glob("*.yaml"))),
]


@pytest.mark.fault
@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_broken_study_file_is_one_sentence(tmp_path: Path, count: int) -> None:
    path = tmp_path / "broken.yaml"

    @settings(max_examples=count, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(study=st.sampled_from(STUDIES), edits=EDITS)
    def check(study: bytes, edits: list[tuple[str, float, float, bytes]]) -> None:
        path.write_bytes(broken(study, edits))
        try:
            plan = expand(load_study(path, ["data.root=.", "seeds=[0]"]))
        except UsageError as error:
            text = str(error)
            assert "\n" not in text
            assert "Traceback" not in text
            assert text.startswith((str(path), "override ", "the study file"))
        else:
            for name in plan.trials():
                assert "/" not in name, "a path from a study file cannot leave the results folder"
                assert not name.startswith(".")

    check()
