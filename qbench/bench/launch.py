"""Commands of qbench in a process of their own, as a user starts them."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    begin = time.perf_counter()
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Launched(time.perf_counter() - begin, usage.ru_maxrss * unit)


def write_study(name: str, folder: Path, **settings: Any) -> Path:
    """Write a study file; JSON is YAML."""
    path = folder / f"{name}.yaml"
    content = {"study": name, "question": "What does the harness cost?"} | settings
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
