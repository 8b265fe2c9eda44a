"""Where a trial runs: paths, device, threads. None of it is part of the trial's identity."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Site"]


@dataclass(frozen=True)
class Site:
    """What a worker must know beside the trial."""

    results: Path
    """The result store."""
    images: Path
    """The prepared data set, as ``qbench.datasets.prepare`` returned it."""
    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 60.0
    plugins: tuple[str, ...] = ()
    start_file: Path | None = None
    """Weights to start from, where the trial starts from a file."""
