"""A small study that is tuned, and scores by a rule in place of training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.plan import Plan

STUDY: dict[str, Any] = {
    "study": "tuned",
    "question": "Which?",
    "quantizers": ["float", "ste", {"name": "daq", "label": "daq wide"}],
    "models": ["mlp"],
    "data": {"sets": ["digits"], "validation": 100},
    "bits": ["W4A32", "W2A2"],
    "seeds": [0, 1],
    "training": {"epochs": 6, "schedule": {"name": "step", "milestones": [3], "warmup_epochs": 2}},
    "tuning": {"trials": 5, "rounds": 2, "spaces": {"daq": {"options.gamma": [1.0, 2.0, 4.0]}}},
}


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    """``make_plan(tuning={…})``: the plan without tuning of the study with changes."""

    def make(tuning: dict[str, Any] | None = None, **changes: Any) -> Plan:
        path = tmp_path / "tuned.yaml"
        own = STUDY | changes | {"tuning": STUDY["tuning"] | (tuning or {})}
        path.write_text(json.dumps(own))  # JSON is YAML
        return expand(load_study(path))

    return make
