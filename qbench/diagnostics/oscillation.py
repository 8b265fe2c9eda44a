"""S2: how many codes jump back and forth."""

from collections.abc import Iterator

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.window import seen
from qbench.registry import diagnostics

__all__ = ["oscillation"]


@diagnostics.register(
    "oscillation", window=True, unit="share of codes", tracked=("dynamics/oscillation_rate",)
)
def oscillation(measurement: Measurement, *, threshold: float = 0.02) -> Iterator[Reading]:
    """Share of codes that go back against their last change, per step and as a share of weights.

    Formula: o = 1 where a code changes and the sign of the change is opposite to that of its change
    before, else 0;  f <- m o + (1 - m) f, m = 0.01, from f = 0 at the window's start.
    ``oscillation_rate``: the mean of o over weights and the N observed steps;
    ``oscillating``: the share of weights with f > ``threshold`` after the last of them.

    Meaning: movement that gets nowhere. The straight-through estimator makes it at every latent
    whose best value lies between two levels: of 1/2 (w* - q(w))^2 the rate is
    2 min(pi, 1 - pi), pi the place of w* between its levels, at any learning rate.

    Range: 0 to 1; f reaches at most 1 - (1 - m)^N, which is 0.18 in a window of 20 steps.

    Cost: no forward; shares the window with ``flip_rate``.

    Misleads: f is an average over the N observed steps only, so it knows nothing of earlier epochs.
    Above 0.02 it says: three oscillations within a window of up to 40 steps; slow oscillators, of
    fewer than three in N steps, are missed, and are seen by ``oscillation_rate`` alone.
    A threshold of 0.005, as in the source, would count a single event of the last 69 steps, and so
    every weight that oscillated in the window. The first change of a window has no change before
    it and is never counted.

    Source: Nagel et al., ICML 2022, arXiv:2203.11086.
    """
    for name in measurement.layers:
        window = seen(measurement.memory, name)
        if window is None:
            continue
        chances = window["codes"].numel() * window["steps"].item()
        rate = window["oscillations"].double() / chances
        yield Reading(name, "dynamics/oscillation_rate", rate)
        often = (window["frequency"] > threshold).double().mean()
        yield Reading(name, "dynamics/oscillating", often)
