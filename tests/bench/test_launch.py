"""What a launched command took."""

import subprocess
from pathlib import Path

import pytest

from qbench.bench.launch import launch


def test_the_peak_is_the_commands_own(tmp_path: Path) -> None:
    large = b"1" * 2**28  # a process that starts another leaves it its own peak
    took = launch(tmp_path, "qbench.list", "recipes")
    assert 2**20 < took.peak_bytes < len(large)
    assert took.seconds > 0


def test_a_command_that_fails_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        launch(tmp_path, "qbench.list", "recipe")
    assert "recipes" in capfd.readouterr().err
