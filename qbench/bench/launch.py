"""Commands of qbench in a process of their own, as a user starts them.

``python -m qbench.bench.launch FILE MODULE ARGUMENT…`` is such a process: it runs the module, and
writes the most bytes that it held to the file.
"""

import json
import runpy
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qbench.memory import peak_of_process

__all__ = ["Launched", "launch", "write_study"]


@dataclass(frozen=True)
class Launched:
    """What a command took."""

    seconds: float
    """Wall time, Python's start included."""
    peak_bytes: int
    """The most memory that its main process held."""


def launch(folder: Path, *arguments: str) -> Launched:
    """Run ``python -m ARGUMENTS`` in ``folder``; its output is not shown, its errors are.

    Raises:
        subprocess.CalledProcessError: It fails.
    """
    with tempfile.TemporaryDirectory() as own:
        peak = Path(own) / "peak"
        command = [sys.executable, "-m", __name__, str(peak), *arguments]
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        return Launched(time.perf_counter() - begin, int(peak.read_text()))


def main() -> None:
    """Run the module that the arguments name, in this process."""
    peak, module = Path(sys.argv[1]), sys.argv[2]
    del sys.argv[:2]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # the command ends in an exit
        peak.write_text(str(peak_of_process()))


def write_study(name: str, folder: Path, **settings: Any) -> Path:
    """Write a study file; JSON is YAML."""
    path = folder / f"{name}.yaml"
    content = {"study": name, "question": "What does the harness cost?"} | settings
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
