"""A command of qbench as if typed in a folder, but in this process, where torch is imported."""

from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result


def typed(folder: Path, command: str, *arguments: str) -> Result:
    """``python -m qbench.COMMAND ARGUMENTS``; a traceback is exit code 1, with its exception."""
    entry: Any = import_module(f"qbench.{command}").command
    with chdir(folder):
        return CliRunner().invoke(entry, arguments)
