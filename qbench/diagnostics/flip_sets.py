"""G1: does the training gradient predict what moves of the deployed codes do to the loss?"""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Points, Reading
from qbench.diagnostics.flips import fit, flips, percent
from qbench.registry import diagnostics

__all__ = ["flip_sets"]


@diagnostics.register(
    "flip_sets",
    unit="1",
    tracked=("gradient/flip_set_r_1pct", "gradient/flip_set_slope_1pct"),
)
def flip_sets(
    measurement: Measurement,
    *,
    sets: int = 64,
    shares: tuple[float, ...] = (0.002, 0.01, 0.05),
) -> Iterator[Reading | Points]:
    """Predicted and actual change of the deployed loss over random sets of one-level code moves.

    Formula: K sets S of k = round(p d) codes, at least one, each moved by one level (inside in a
    random direction, at an edge inward) make dW_S;  a_S = gamma . dW_S with gamma = dL/dW~ of the
    training forward,  y_S = L(W + dW_S) - L(W) deployed;  r = Pearson(a, y),
    slope = cov(a, y) / var(a),  offset = mean(y - a) / sd(y).

    Meaning: r is how much of the deployed loss's response the training gradient explains; a slope
    below 1 says that the gradient is too large; an offset above 0 that moves cost more than a
    linear loss would. No latent parametrisation enters, so all methods can be compared.

    Range: r in [-1, 1], 1 best; slope 1 best. Errors: (1 - r^2) / sqrt(K) of r, bootstrap over sets
    of the others; they do not grow with the size of the layer.

    Cost: K forwards from the layer on, for each layer and share; ``flip_descent`` uses them again.

    Misleads: an optimizer does not move random codes (see ``flip_descent``); one batch; a move of
    one level is a large one at few bits, so that curvature, not only the gradient, lowers r as
    the share grows.

    Source: this project's; it generalises the coordinate discrete gradient of Kim et al.,
    BinaryDuo, ICLR 2020, arXiv:2002.06517.
    """
    probe = measurement.probe
    for name, _, _ in measurement.weights():
        for share in shares:
            found = flips(probe, name, share, sets)
            label = percent(share)
            yield Points(
                name,
                f"gradient/flip_set_{label}",
                torch.from_numpy(found.predicted),
                torch.from_numpy(found.actual),
            )
            fitted = fit(found, probe.random("flip sets bootstrap", name))
            if fitted is None:
                continue
            for quantity, value, error in (
                ("r", fitted.correlation, fitted.correlation_se),
                ("slope", fitted.slope, fitted.slope_se),
                ("offset", fitted.offset, fitted.offset_se),
            ):
                reading = f"gradient/flip_set_{quantity}_{label}"
                yield Reading(name, reading, torch.tensor(value, dtype=torch.float64))
                yield Reading(name, f"{reading}_se", torch.tensor(error, dtype=torch.float64))
