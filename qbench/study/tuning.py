"""What a study says about tuning: the same budget of trials for every row."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from qbench.study.settings import Settings

__all__ = ["Tuning"]

_RECIPE: dict[str, Any] = {
    "training.optimizer.learning_rate": {"times": [0.1, 10.0]},
    "training.optimizer.weight_decay": {"times": [0.1, 10.0]},
}


class Tuning(Settings):
    """A search over each row's knobs, in each setting of model, data and bits by itself.

    Trials of a search train on the training images that are not held out, and are judged on the
    held-out ones; the test set is not opened.
    """

    trials: PositiveInt = 20
    """Of each row, in each setting and round; the row's own values are the first of them."""
    epochs: PositiveInt | None = None
    """Of a trial of the search; by default those of the row's recipe."""
    rounds: PositiveInt = 3
    """Independent searches; the report takes the median of what their choices reach."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1000
    """Of the first round's draws and trainings; the next rounds take the next numbers."""
    searcher: Literal["random", "optuna", "grid"] = "random"
    """``optuna``: its tree-structured Parzen estimator, after ten random trials."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """``asha``: a trial goes on past a rung only as one of the best that reached it so far."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """Of ``asha``: one in so many goes on, and the next rung is so many times as far."""
    grace_epochs: PositiveInt = 1
    """Of ``asha``: no trial ends earlier."""
    recipe: dict[str, Any] = _RECIPE
    """The knobs that all rows share: dotted keys of a row, such as
    ``training.optimizer.learning_rate``, each with its search space."""
    spaces: dict[str, dict[str, Any]] = {}
    """By a row's label or quantizer: knobs in place of, or beside, those that the method declares;
    ``null`` leaves a declared one out."""

    def seeds(self) -> range:
        """The seed of each round."""
        return range(self.seed, self.seed + self.rounds)
