"""D4: how near latent weights are to where their codes change, and how the codes are used."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from qbench.diagnostics.calibration import changed_share, gaussian
from qbench.diagnostics.contract import Measurement, Points, Reading
from qbench.diagnostics.finite import finite
from qbench.diagnostics.latent_fit import fit_latents
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.window import places
from qbench.registry import diagnostics

__all__ = ["code_use", "margins", "near_threshold"]

_NEAR = 0.1  # of half a cell
_ENOUGH = 2**14  # drawn numbers a point: a share of 1 % is then known to 8 % of itself


@diagnostics.register("margins", unit="1", tracked=("codes/near_threshold",))
def margins(
    measurement: Measurement,
    *,
    noises: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0),
) -> Iterator[Reading | Points]:
    """How many latents are near a threshold, and how evenly and how fully the levels are used.

    Formula: m = distance of a latent to the nearest threshold / half the width of its cell (an
    outer cell has the width of its neighbour; at 1 bit the half width is the median distance);
    near_threshold: share of m < 0.1;  entropy = H(codes) / log2(levels);  unused_levels: share of
    levels that no code of the layer has;  clipped: share of latents beyond the outermost level, in
    the fit of latent_error;  flip_fraction: share of codes that Gaussian noise of ``noises`` times
    the rms of the latents changes. Thresholds are read off the codes, halfway between neighbouring
    latents of different code, in each channel with a codebook of its own.

    Meaning: latents near thresholds flip at the next step, for good or in oscillation; levels
    without codes are bits paid for nothing.

    Range: all in [0, 1]; near_threshold of Gaussian latents 0.054 at 1 bit.

    Cost: no forward of the network; the codes are computed once for each noise and draw.

    Misleads: near means near in latent units, not in the optimizer's steps; small channels know
    their thresholds roughly; a high entropy is no merit by itself; where latents do not order the
    codes, as after a transform that mixes weights, near_threshold is left out.

    Source: entropy, Qin et al., IR-Net, CVPR 2020, arXiv:1909.10788; the others, this project's.
    """
    probe = measurement.probe
    with torch.no_grad():
        yield from finite(_readings(measurement))
        for name in measurement.layers:
            if probe.layers[name].weight_quantizer is not None:
                yield from _flip_fraction(probe, name, noises)


def near_threshold(theta: Tensor, ranks: Tensor) -> Tensor:
    """The share of latents whose margin is below 0.1, 0-dim float64.

    Args:
        theta: Latents ``[rows, n]``; each row has thresholds of its own.
        ranks: Their codes by ascending level ``[rows, n]``.

    Returns:
        Not a number where no row has two codes, or where a larger latent has a lower code (in
        rows whose codes all fall, as under a negative scale, the latents count negatively).
    """
    latents, order = theta.double().sort(1)
    ranks = ranks.gather(1, order)
    falling = (ranks[:, :1] > ranks[:, -1:]).expand_as(ranks)
    latents = torch.where(falling, -latents.flip(1), latents)
    ranks = torch.where(falling, ranks.flip(1), ranks)
    jump = ranks[:, 1:] > ranks[:, :-1]
    ordered = (ranks[:, 1:] >= ranks[:, :-1]).all()
    middle = (latents[:, 1:] + latents[:, :-1]) / 2
    edge = torch.full_like(latents[:, :1], torch.inf)
    before = torch.cat([-edge, torch.where(jump, middle, -torch.inf)], 1).cummax(1).values
    after = torch.cat([torch.where(jump, middle, torch.inf), edge], 1)
    after = after.flip(1).cummin(1).values.flip(1)
    distance = torch.minimum(latents - before, after - latents)
    half = _widths(before, after) / 2
    # one threshold in the row, so that no cell has two ends
    half = torch.where(half.isfinite(), half, distance.median(1, keepdim=True).values)
    known = distance.isfinite()
    share = ((distance < _NEAR * half) & known).sum() / known.sum()
    return torch.where(ordered, share.double(), torch.nan)


def _widths(before: Tensor, after: Tensor) -> Tensor:
    """The width of each latent's cell, infinite in rows without a cell that has two ends."""
    first, last = after.amin(1, keepdim=True), before.amax(1, keepdim=True)
    second = torch.where(before == first, after, torch.inf).amin(1, keepdim=True)
    last_but_one = torch.where(after == last, before, -torch.inf).amax(1, keepdim=True)
    width = torch.where(before.isinf(), second - first, after - before)
    return torch.where(after.isinf(), last - last_but_one, width)


def code_use(codes: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Entropy of the codes over that of even use, and the share of unused levels, both 0-dim.

    Args:
        codes: Integers in ``[0, levels)``, any shape.
        levels: How many levels there are; of one level the entropy is not a number.
    """
    borders = torch.arange(levels + 1, dtype=codes.dtype, device=codes.device)
    # Sorted, as counting by scattering is not deterministic on every device.
    counts = torch.searchsorted(codes.flatten().sort().values, borders).diff().double()
    share = counts / counts.sum()
    entropy = -torch.special.xlogy(share, share).sum() / math.log(2)
    return entropy / torch.tensor(levels).log2(), (counts == 0).double().mean()


def _readings(measurement: Measurement) -> Iterator[Reading]:
    for name, layer, quantizer in measurement.weights():
        _, codebook = quantizer.codes(layer.weight)
        ranks = places(quantizer, layer.weight)
        channels = layer.weight.flatten(1)
        shape = channels.shape if codebook.ndim == 2 else (1, -1)
        near = near_threshold(channels.reshape(shape), ranks.flatten(1).reshape(shape))
        entropy, unused = code_use(ranks, codebook.shape[-1])
        fit = fit_latents(layer.weight, measurement.probe.deployed[name], codebook)
        yield Reading(name, "codes/near_threshold", near)
        yield Reading(name, "codes/entropy", entropy)
        yield Reading(name, "codes/unused_levels", unused)
        yield Reading(name, "codes/clipped", fit.clipped_share)


def _flip_fraction(probe: Probe, name: str, noises: tuple[float, ...]) -> Iterator[Points]:
    layer = probe.layers[name]
    quantizer, weight = layer.weight_quantizer, layer.weight.detach()
    if quantizer is None:
        raise TypeError(f"the weight of {name} is not quantized")
    draws = min(8, max(1, _ENOUGH // weight.numel()))
    random = probe.random("flip fraction", name)
    noise = [gaussian(random, weight) for _ in range(draws)]
    rms = weight.double().square().mean().sqrt()
    shares = [
        changed_share(lambda x: quantizer.codes(x)[0], weight, rms * sigma, noise)
        for sigma in noises
    ]
    x = torch.tensor(noises, dtype=torch.float64)
    yield Points(name, "codes/flip_fraction", x, torch.stack(shares))
