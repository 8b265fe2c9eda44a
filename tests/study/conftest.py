"""A small valid study, and registries that forget what a test added."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_study import VALID

from qbench.study.load import load_study
from qbench.study.schema import Study


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """``make_study(bits=["W1A1"])``: the valid study with changes, through a file."""

    def make(*overrides: str, **changes: Any) -> Study:
        path = tmp_path / "toy.yaml"
        path.write_text(json.dumps(VALID | changes))  # JSON is YAML
        return load_study(path, overrides)

    return make
