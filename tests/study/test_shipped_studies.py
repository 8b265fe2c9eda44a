"""The shipped studies and the example of studies/README.md load, and the README is whole."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from qbench.growth import Growth
from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.schema import Study

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", (STUDIES / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_study_loads_and_its_question_is_in_the_readme(
    path: Path, tmp_path: Path
) -> None:
    study = load_study(path)
    assert study.study == path.stem
    readme = (STUDIES / "README.md").read_text()
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{path.name}` |")]
    assert study.question in row
    plan = Growth(expand(study), tmp_path).plan
    assert f"{len(plan.trials()) + plan.open} trials" in row


def test_the_example_loads(tmp_path: Path, example: str) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example)
    plan = expand(load_study(path))
    assert all(rule.count for rule in plan.excluded)


def test_the_example_has_every_key(example: str) -> None:
    written = set(keys(YAML(typ="safe").load(example)))
    assert set(fields(Study)) - {"weight", "activation"} <= written  # those are W1A32


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from keys(item)


def fields(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from fields(field.annotation)
    for part in get_args(annotation):
        yield from fields(part)
