"""Wall time of the phases of an epoch."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from qbench.store import PhaseRow

__all__ = ["PhaseClock"]


class PhaseClock:
    """Adds up seconds by phase until they are taken as rows of an epoch."""

    def __init__(self) -> None:
        """Start with no phase."""
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._around: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's wall time to ``name``, and take it off the phase around it."""
        start = time.perf_counter()
        self._around.append(name)
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._around.pop()
            self._seconds[name] += spent
            if self._around:
                self._seconds[self._around[-1]] -= spent

    def take(self, epoch: int) -> list[PhaseRow]:
        """The rows of an epoch; counting starts again."""
        now = time.time()
        rows = [PhaseRow(epoch, name, seconds, now) for name, seconds in self._seconds.items()]
        self._seconds.clear()
        return rows
