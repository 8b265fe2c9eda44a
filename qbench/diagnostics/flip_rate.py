"""S1: how many codes change in a step, and whether the latent or the grid moved."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.window import places, seen
from qbench.registry import diagnostics

__all__ = ["flip_rate"]


@diagnostics.register(
    "flip_rate", window=True, unit="share of codes", tracked=("dynamics/flip_rate",)
)
def flip_rate(measurement: Measurement) -> Iterator[Reading]:
    """Share of codes that one optimizer step changes, and the net share since last measured.

    Formula: with c(theta, s) the codes of latents theta under the quantizer's parameters s, the
    mean over weights and over the N observed steps of
    ``flip_rate``: 1[c(theta', s') != c(theta, s)];
    ``flip_rate_latent``: 1[c(theta', s') != c(theta, s')], the latent moved over a threshold;
    ``flip_rate_scale``: 1[c(theta, s') != c(theta, s)], a threshold moved over the latent.
    ``net_change``: the share of codes that differ from those of the last measurement.

    Meaning: how busy training is with the codes; best read on a log scale. The last two may add up
    to more than the first, where both causes cancel. A large rate beside a small net change is
    churn.

    Range: 0 to 1. No ``flip_rate`` before the first epoch, no ``net_change`` at the first
    measurement.

    Cost: no forward; two calls of ``codes`` a layer in each of the N last steps of an epoch
    (``window`` of the study), one here.

    Misleads: N steps at the end of an epoch stand for the epoch, and near the end of a schedule the
    rate falls with the learning rate. A scale that is computed from the latents (such as mean|w|)
    is no parameter: its effect counts as the latent's. Rates of different batch sizes or learning
    rates do not compare.

    Source: Helwegen et al., NeurIPS 2019, arXiv:1906.02107 (flip ratio); the split answers Liu et
    al., ICML 2023, arXiv:2302.02210 (learned scales as a cause of oscillations).
    """
    for name, layer, quantizer in measurement.weights():
        window = seen(measurement.memory, name)
        if window is not None:
            chances = window["codes"].numel() * window["steps"].item()
            for cause in ("", "_latent", "_scale"):
                rate = window[f"flips{cause}"].double() / chances
                yield Reading(name, f"dynamics/flip_rate{cause}", rate)
        with torch.no_grad():
            now = places(quantizer, layer.weight)
        key = f"flip_rate/codes/{name}"
        before = measurement.memory.get(key)
        if before is not None:
            changed = (now != before.to(now.device)).double().mean()
            yield Reading(name, "dynamics/net_change", changed)
        measurement.memory[key] = now
