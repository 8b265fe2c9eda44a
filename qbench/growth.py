"""The plan of a study while it runs: where it is tuned, results bring new trials."""

from pathlib import Path

from qbench.store import TrialFolder
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tuning.scores import StoredScores
from qbench.tuning.tuner import Tuner

__all__ = ["Growth"]


class Growth:
    """Keeps a study's plan up to what its searches have found; one without tuning never changes."""

    def __init__(self, untuned: Plan, results: Path, *, fresh: bool = False) -> None:
        """Start from what the result store holds.

        Args:
            untuned: The plan as it would be without tuning.
            results: The result store.
            fresh: Take no notice of what it holds now.

        Raises:
            UsageError: The searcher's library is missing.
        """
        self._results, self._fresh = results, fresh
        self.plan = untuned
        if untuned.study.tuning is not None:
            self._tuner, self._score = Tuner(untuned), StoredScores(results)
            self.plan = self._tuner.plan((lambda trial: None) if fresh else self._score)

    def more(self, name: str) -> list[Trial]:
        """The trials that are to be run because one has ended, and were not in the plan."""
        if not self.plan.open:
            return []
        known = self.plan.trials()
        self._score.learn(name)
        self.plan = self._tuner.plan(self._score)
        new = [trial for key, trial in self.plan.trials().items() if key not in known]
        return [trial for trial in new if self._fresh or self._waits(trial)]

    def _waits(self, trial: Trial) -> bool:
        return TrialFolder(self._results, trial.name).status() in ("missing", "partial")
