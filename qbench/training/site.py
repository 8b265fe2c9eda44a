"""Where a trial runs: paths, device, threads. None of it is part of the trial's identity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from qbench.storage import results_folder

__all__ = ["Site"]


Results = Annotated[Path, PlainSerializer(str), PlainValidator(results_folder)]
"""A path or an address, told to other processes as text."""


@dataclass(frozen=True)
class Site:
    """What a worker must know beside the trial."""

    results: Results
    """The result store."""
    images: Path
    """The prepared data set, as ``qbench.datasets.prepare`` returned it."""
    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 60.0
    plugins: tuple[str, ...] = ()
    start_file: Path | None = None
    """Weights to start from, where the trial starts from a file."""
    timeout_minutes: float | None = None
    """After so long a worker ends itself."""
    processes: int = 1
    """How many share out each batch, on a device each, numbered from 0 on this machine."""
    rank: int = 0
    """Which of them this is; 0 writes the results."""

    @property
    def leads(self) -> bool:
        """Whether this process measures, evaluates and writes."""
        return self.rank == 0
