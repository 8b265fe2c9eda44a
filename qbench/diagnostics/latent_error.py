"""D1: how far latent weights lie from the levels that are deployed."""

from collections.abc import Iterator

import torch

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.finite import finite
from qbench.diagnostics.latent_fit import fit_latents
from qbench.diagnostics.lloyd_max import gaussian_error
from qbench.registry import diagnostics

__all__ = ["latent_error"]


@diagnostics.register("latent_error", unit="1", tracked=("discretization/latent_error",))
def latent_error(measurement: Measurement) -> Iterator[Reading]:
    """Distance of the latent weights to their deployed levels, whatever the unit of either.

    Formula: QE = min_{a,b} |theta - a W - b|^2 / |theta - mean theta|^2 = 1 - cos^2 of the centred
    theta and W, per layer;  excess = QE / QE of the Lloyd-Max quantizer of a Gaussian with as many
    levels (0.3634, 0.1175, 0.0345, 0.0095 at 1 to 4 bits);  clipping: the part of QE in latents
    beyond the outermost level, rounding: the rest.

    Meaning: how well the codes could stand for the latents. Excess 1 is the best that can be done
    for Gaussian latents; below 1 the latents have gathered at the levels.

    Range: QE in [0, 1], excess from 0 on; SQNR = -10 log10 QE.

    Cost: no forward of the network.

    Misleads: for a hard forward latents are never computed with, so it is no error of the network;
    for a soft forward use train_deploy_gap. At 1 bit "beyond the outermost level" is about 4 of 10
    latents of a Gaussian. A method that transforms latents before rounding, or scales each channel
    by itself while it normalises, has a large value that says little.

    Source: SQNR as in torch.ao.ns; Lloyd, IEEE Trans. Inf. Theory 28, 1982.
    """
    with torch.no_grad():
        yield from finite(_readings(measurement))


def _readings(measurement: Measurement) -> Iterator[Reading]:
    for name, layer, quantizer in measurement.weights():
        _, codebook = quantizer.codes(layer.weight)
        fit = fit_latents(layer.weight, measurement.probe.deployed[name], codebook)
        best = gaussian_error(codebook.shape[-1])
        for part, value in (
            ("", fit.error),
            ("_excess", fit.error / best),
            ("_rounding", fit.error - fit.clipped_error),
            ("_clipping", fit.clipped_error),
        ):
            yield Reading(name, f"discretization/latent_error{part}", value)
