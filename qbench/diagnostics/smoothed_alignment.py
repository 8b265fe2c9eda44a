"""G3: does the latent gradient point along that of the deployed loss, smoothed over flips?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from qbench.diagnostics.alignment import across, align, along
from qbench.diagnostics.calibration import sigma_for_share
from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.flips import percent
from qbench.diagnostics.probe import Probe
from qbench.quantizers.contract import Quantizer
from qbench.registry import diagnostics

__all__ = ["smoothed_alignment"]


@diagnostics.register("smoothed_alignment", unit="1", tracked=("gradient/smoothed_alignment_1pct",))
def smoothed_alignment(
    measurement: Measurement,
    *,
    shares: tuple[float, ...] = (0.01, 0.05),
    dithers: int = 16,
    pairs: int = 128,
) -> Iterator[Reading]:
    """Cosine of the latent gradient with that of the deployed loss, smoothed over a share of flips.

    Formula: F(theta) = L(Q(theta)) with the deployed network;  F_sigma(theta) =
    E F(theta + sigma u), u ~ N(0, I), sigma such that a share p of the layer's codes changes;
    b = grad F_sigma;  alignment = <g, b> / (|g| |b|),  gain = <g, b> / |g|^2.
    N = e . b from differences along e = g / |g|, P = |b across e|^2 from pairs of differences along
    one random direction under two dithers;  alignment = N / sqrt(N^2 + max(P, 0)),
    gain = N / |g|;  scatter lambda = variance of one difference that b does not explain, over
    |b|^2.  Of the network: the mean over layers, and, as ``.._weighted_..``, the cosine of all
    layers' vectors end to end, sum_l <g_l, b_l> / sqrt(sum_l |g_l|^2 sum_l |b_l|^2), in which
    layers with a long gradient count most.

    Meaning: the hard loss has no gradient; b is the nearest thing to one at the scale at which p of
    the codes flip, the same for all methods. The alignment counts the whole mismatch, of codes
    (see ``flip_sets``) and of the backward's slopes (see ``jacobian_alignment``).

    Range: [-1, 1], 1 best; gain 1 best. The errors do not grow with the layer but with lambda: the
    most that 128 pairs give is 0.03 at lambda = 0.4, 0.05 at 1 and 0.09 at 2. Not defined where no
    noise flips p of the codes, or the gradient is zero.

    Cost: 2 dithers + 4 pairs = 544 forwards from the layer on, for each layer and share, and some
    500 quantizations of the weight.

    Misleads: the answer depends on p, so that one p alone says little; latents far from all
    thresholds need a large sigma, which is noisy and not local; Adam and a change of latents can
    undo a mismatch of slopes; near 1 noise makes it too small, the more the fewer pairs.

    Source: this project's estimator; randomised smoothing after Nesterov and Spokoiny, Found.
    Comput. Math. 2017; smoothing as a view of the straight-through estimator after Spallanzani et
    al., 2019, arXiv:1905.10452.
    """
    for share in shares:
        inner, squares, other_squares = [], [], []  # of g and b, a number each layer
        label = percent(share)
        for name, _, quantizer in measurement.weights():
            samples = _samples(measurement.probe, name, quantizer, share, dithers, pairs)
            if samples is None:
                continue
            parallel, perpendicular = samples
            products = perpendicular.prod(-1)
            gradient = measurement.probe.gradients[name].latent
            found = align(gradient, parallel, products)
            if found is None:
                continue
            length = parallel.mean().square() + products.mean().clamp_min(0.0)
            scatter = (perpendicular.square().mean() - products.mean()) / length
            yield Reading(name, f"gradient/smoothed_alignment_{label}", found.cosine)
            yield Reading(name, f"gradient/smoothed_alignment_{label}_se", found.cosine_se)
            yield Reading(name, f"gradient/smoothed_gain_{label}", found.gain)
            yield Reading(name, f"gradient/smoothed_gain_{label}_se", found.gain_se)
            yield Reading(name, f"gradient/smoothed_scatter_{label}", scatter)
            squares.append(gradient.double().square().sum())
            inner.append(found.gain * squares[-1])
            other_squares.append(length)
        if inner:
            total = torch.stack(squares).sum() * torch.stack(other_squares).sum()
            cosine = torch.stack(inner).sum() / total.sqrt()
            yield Reading("", f"gradient/smoothed_alignment_weighted_{label}", cosine)


def _samples(
    probe: Probe, name: str, quantizer: Quantizer, share: float, dithers: int, pairs: int
) -> tuple[Tensor, Tensor] | None:
    weight, gradient = probe.layers[name].weight.detach(), probe.gradients[name].latent
    if not bool(gradient.any()):
        return None

    def codes(latent: Tensor) -> Tensor:
        return quantizer.codes(latent)[0]

    sigma = sigma_for_share(codes, weight, share, probe.random("calibration", name))
    if sigma is None:
        return None
    with probe.suffix(name) as suffix:

        def loss(latent: Tensor) -> Tensor:
            return suffix.loss(quantizer.deployed(latent))

        dither, pair = probe.random("dithers", name), probe.random("pairs", name)
        parallel = along(loss, weight, gradient, sigma, dither, dithers)
        return parallel, across(loss, weight, gradient, sigma, pair, pairs)
