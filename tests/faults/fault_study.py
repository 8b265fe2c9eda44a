"""A small study that is run in this process, and what its files are."""

import hashlib
from pathlib import Path

from click.testing import Result
from typed import typed

STUDY = """
study: small
question: Does it survive?
quantizers: [float, ste, lsq]
models: [{name: mlp, options: {width: 16}}]
data:
  sets: [{name: synthetic, options: {classes: 4, size: 8, channels: 1, train: 160, test: 64}}]
  validation: 32
bits: [W2A2]
start: float
training: {epochs: 3, batch: 16, optimizer: {learning_rate: 0.05}, reestimation_batches: 2}
diagnostics: {of: [], images: 32}
tracking: {enabled: false}
report: {formats: [csv]}
"""
SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")
"""Those files of a trial that are bit-identical however often it was cut off."""


def write_study(folder: Path, **changes: str) -> Path:
    """The study file, with parts of its text replaced."""
    text = STUDY
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def run(folder: Path, *arguments: str, command: str = "run") -> Result:
    """A command of qbench in this process, as if typed in ``folder``."""
    local = ["--local"] if command == "run" else []
    return typed(folder, command, "small.yaml", *local, *arguments)


def trials(folder: Path) -> list[Path]:
    """The folders of trials that are done, by name."""
    return sorted(path.parent for path in (folder / "results").glob("*/done"))


def same_files(folder: Path) -> dict[str, str]:
    """Digests of what a finished study must hold, by trial and file."""
    return {
        f"{trial.name}/{name}": hashlib.sha256((trial / name).read_bytes()).hexdigest()
        for trial in trials(folder)
        for name in SAME
    }


def touched(folder: Path) -> dict[str, int]:
    """When each file of each trial was written, in nanoseconds."""
    return {
        f"{trial.name}/{file.name}": file.stat().st_mtime_ns
        for trial in trials(folder)
        for file in trial.iterdir()
    }
