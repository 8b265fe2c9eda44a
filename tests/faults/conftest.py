"""A finished study to break, made once, and small parts of trials."""

import shutil
from pathlib import Path

import pytest
from fault_study import run, write_study


@pytest.fixture(autouse=True)
def each_with_own_registries(own_registries: None) -> None:
    """Studies run in this process."""


@pytest.fixture(scope="session")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nothing happened to; nobody writes there."""
    folder = tmp_path_factory.mktemp("alone")
    write_study(folder)
    done = run(folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def finished(left_alone: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    folder = tmp_path / "study"
    shutil.copytree(left_alone, folder)
    return folder
