"""Where results come from: commit, machine, command, data sets."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qbench.tracking.address import mask_all

__all__ = ["provenance"]


def provenance(study_file: Path, images: Iterable[Path], device: str) -> dict[str, Any]:
    """The facts that reports and MLflow record.

    Args:
        study_file: The study; its repository's commit is taken.
        images: Prepared data sets.
        device: ``cpu`` or ``cuda``.
    """
    facts = [json.loads((path / "meta.json").read_text(encoding="utf-8")) for path in images]
    return {
        "commit": _commit(study_file),
        "host": platform.node(),
        "device": device,
        "command": mask_all(shlex.join(["python", "-m", "qbench.run", *sys.argv[1:]])),
        "datasets": {
            meta["name"]: {"digest": meta["digest"], "source": meta["source"]} for meta in facts
        },
    }


def _commit(study_file: Path) -> str:
    command = ["git", "-C", str(study_file.resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
