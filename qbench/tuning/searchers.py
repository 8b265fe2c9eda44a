"""What a search tries next, as a pure function of what was tried and how well it did.

A search that was cut off is therefore replayed to where it stood: the same seed and the same
scores give the same settings, whatever ran side by side with what. Each search begins with the
row's own values; this module makes the others.
"""

import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from qbench.errors import UsageError
from qbench.study.spaces import Choices, Space, evenly, lattice

if TYPE_CHECKING:
    import optuna

__all__ = ["SEARCHERS", "Scores", "Settings", "check_searcher", "suggestions"]

Settings = dict[str, Any]
"""Dotted keys of a row with what they are set to."""
Scores = Sequence[float | None]
"""What each setting tried so far reached, ``None`` while that is not known."""

_RANDOM_FIRST = 10  # random trials before the estimator's own: Optuna's default


def check_searcher(name: str) -> None:
    """Refuse a searcher whose library is not installed.

    Raises:
        UsageError: With what to type.
    """
    if name == "optuna" and importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "the searcher 'optuna' needs the library of that name; type "
            "pip install 'qbench-harness[optuna]', or choose random or grid"
        )


def suggestions(
    searcher: str, space: Mapping[str, Space], count: int, seed: int, scores: Scores
) -> list[Settings]:
    """The settings that a search tries, as far as they are known.

    Args:
        searcher: One of ``SEARCHERS``.
        space: Each knob's space.
        count: The budget.
        seed: Of the draws. A knob's draws depend on the seed and the knob alone, so that rows that
            share a knob try the same values of it.
        scores: Of the first settings, higher is better.
    """
    return SEARCHERS[searcher](space, count, seed, scores)


def _random(space: Mapping[str, Space], count: int, seed: int, scores: Scores) -> list[Settings]:
    draws = {key: Random(f"{seed} {key}") for key in space}
    return [{key: one.draw(draws[key]) for key, one in space.items()} for _ in range(count)]


def _grid(space: Mapping[str, Space], count: int, seed: int, scores: Scores) -> list[Settings]:
    """Points of the coarsest lattice that has so many, evenly taken where it has more."""
    return evenly(lattice(space, count), count)


def _optuna(space: Mapping[str, Space], count: int, seed: int, scores: Scores) -> list[Settings]:
    """The first ones at once, then one after the other, since each depends on all before."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = _random(space, min(_RANDOM_FIRST, count), seed, scores)
    known = list(itertools.takewhile(lambda score: score is not None, scores))
    if len(known) < len(first):
        return first
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(first)),
    )
    kinds = {key: _distribution(one) for key, one in space.items()}
    for settings, score in zip(first, known, strict=False):
        values = {key: _to_optuna(space[key], value) for key, value in settings.items()}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=kinds, value=score))
    found = list(first)
    for score in (*known[len(first) :], None)[: count - len(first)]:
        asked = study.ask(kinds)
        found.append({key: _from_optuna(space[key], asked.params[key]) for key in space})
        if score is not None:
            study.tell(asked, score)
    return found


def _distribution(space: Space) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(space, Choices):
        return CategoricalDistribution(range(len(space.values)))
    if space.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _to_optuna(space: Space, value: Any) -> Any:
    return space.values.index(value) if isinstance(space, Choices) else value


def _from_optuna(space: Space, value: Any) -> Any:
    return space.values[value] if isinstance(space, Choices) else space.rounded(value)


SEARCHERS: dict[str, Callable[[Mapping[str, Space], int, int, Scores], list[Settings]]] = {
    "random": _random,
    "grid": _grid,
    "optuna": _optuna,
}
