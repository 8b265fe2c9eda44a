"""How well the trials of searches did, from their result files."""

from pathlib import Path

from qbench.storage import snapshot
from qbench.store import DECIDING, TrialFolder
from qbench.study.trial import Trial
from qbench.tuning.walk import FAILED

__all__ = ["StoredScores"]

_FILE, _NAME = "history.parquet", "validation/accuracy"


class StoredScores:
    """Reads each trial once, and again when it is told that one has ended."""

    def __init__(self, results: Path) -> None:
        """Read from a result store as it is now."""
        self._results, self._seen = results, snapshot(results, (*DECIDING, _FILE))
        self._known: dict[str, float | None] = {}

    def __call__(self, trial: Trial) -> float | None:
        """The last validation accuracy of a trial; -1 if it failed, ``None`` if it is not done."""
        if trial.name not in self._known:
            self._known[trial.name] = self._read(TrialFolder(self._seen, trial.name))
        return self._known[trial.name]

    def learn(self, name: str) -> None:
        """Read a trial that has ended."""
        self._known[name] = self._read(TrialFolder(self._results, name))

    def _read(self, folder: TrialFolder) -> float | None:
        status = folder.status()
        if status == "failed":
            return FAILED
        if status != "done" or folder.damaged(names=(_FILE,)):
            return None
        rows = folder.read_table(_FILE).to_pylist()
        return next((float(row["value"]) for row in reversed(rows) if row["name"] == _NAME), FAILED)
