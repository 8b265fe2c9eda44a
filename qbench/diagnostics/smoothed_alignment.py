"""G3: does the latent gradient point along that of the deployed loss, smoothed over flips?"""

from collections.abc import Iterator

from torch import Tensor

from qbench.diagnostics.alignment import Alignment, across, align, along
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
    gain = N / |g|.

    Meaning: the hard loss has no gradient; b is the nearest thing to one at the scale at which p of
    the codes flip, the same for all methods. The alignment counts the whole mismatch, of codes
    (see ``flip_sets``) and of the backward's slopes (see ``jacobian_alignment``).

    Range: [-1, 1], 1 best; gain 1 best. The errors do not grow with the layer. Not defined where no
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
    for name in measurement.layers:
        quantizer = measurement.probe.layers[name].weight_quantizer
        if quantizer is None:
            continue
        for share in shares:
            found = _smoothed(measurement.probe, name, quantizer, share, dithers, pairs)
            if found is None:
                continue
            label = percent(share)
            yield Reading(name, f"gradient/smoothed_alignment_{label}", found.cosine)
            yield Reading(name, f"gradient/smoothed_alignment_{label}_se", found.cosine_se)
            yield Reading(name, f"gradient/smoothed_gain_{label}", found.gain)
            yield Reading(name, f"gradient/smoothed_gain_{label}_se", found.gain_se)


def _smoothed(
    probe: Probe, name: str, quantizer: Quantizer, share: float, dithers: int, pairs: int
) -> Alignment | None:
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
        perpendicular = across(loss, weight, gradient, sigma, pair, pairs)
    return align(gradient, parallel, perpendicular)
