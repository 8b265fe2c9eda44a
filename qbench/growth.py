"""The plan of a study while it runs: where it is tuned, results bring new trials."""

from pathlib import Path

from qbench.standing import look
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
        self._results, self._score = results, StoredScores(results)
        self._tuner = None if untuned.study.tuning is None else Tuner(untuned)
        self.plan = untuned
        if self._tuner is not None:
            self.plan = self._tuner.plan((lambda trial: None) if fresh else self._score)

    def more(self) -> list[Trial]:
        """Look at the results again; the trials that were not in the plan and are to be run."""
        if self._tuner is None or not self.plan.open:
            return []
        known = self.plan.trials()
        self.plan = self._tuner.plan(self._score)
        return [trial for trial in look(self.plan, self._results).to_run if trial.name not in known]
