"""How well the trials of searches did, from their result files."""

from pathlib import Path

from qbench.store import TrialFolder
from qbench.study.trial import Trial
from qbench.tuning.walk import FAILED

__all__ = ["StoredScores"]

_FILE, _NAME = "history.parquet", "validation/accuracy"


class StoredScores:
    """Reads each finished trial once."""

    def __init__(self, results: Path) -> None:
        """Read from a result store."""
        self._results = results
        self._known: dict[str, float] = {}

    def __call__(self, trial: Trial) -> float | None:
        """The last validation accuracy of a trial; -1 if it failed, ``None`` if it is not done."""
        if trial.name not in self._known:
            score = self._read(TrialFolder(self._results, trial.name))
            if score is None:
                return None
            self._known[trial.name] = score
        return self._known[trial.name]

    def _read(self, folder: TrialFolder) -> float | None:
        status = folder.status()
        if status == "failed":
            return FAILED
        if status != "done" or folder.damaged(names=(_FILE,)):
            return None
        rows = folder.read_table(_FILE).to_pylist()
        return next((float(row["value"]) for row in reversed(rows) if row["name"] == _NAME), FAILED)
