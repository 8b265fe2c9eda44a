"""G2: is the backward's slope proportional to how near the codes are to a change?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Points, Reading
from qbench.diagnostics.flips import percent
from qbench.diagnostics.probe import LayerGradients, Probe, latent_gradient
from qbench.diagnostics.staircase import find_staircase
from qbench.registry import diagnostics

__all__ = ["alignment", "jacobian_alignment"]

_DIAGONAL = 0.1  # the part of a latent's gradient that may come from other weights


@diagnostics.register(
    "jacobian_alignment",
    unit="1",
    tracked=("gradient/jacobian_alignment_max",),
)
def jacobian_alignment(
    measurement: Measurement,
    *,
    shares: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
) -> Iterator[Reading | Points]:
    """Cosine of the backward's slope with the density of thresholds around each latent.

    Formula: j = g / gamma, gamma = dL/dW~ and g what the method takes for dL/dtheta;
    D = sum_j gap_j N(theta - t_j; 0, sigma_p^2), sigma_p the noise that changes a share p of the
    codes on average;  rho_J(p) = sum gamma^2 j D / sqrt(sum gamma^2 j^2 sum gamma^2 D^2). The
    thresholds t_j are read off the codes. Where D is the slope, the gradient is that of the loss of
    a network with that noise on its latents, if gamma is right (which ``flip_sets`` asks).

    Meaning: the curve over p tells at which scale an estimator smooths; its maximum, and the p of
    the maximum, say how good it can be. No estimator is best at every p.

    Range: [-1, 1], 1 best.

    Cost: no forward of the network; a few dozen evaluations of the quantizer.

    Misleads: a slope that differs from D can be absorbed by other latents and learning rates
    (Schoenbauer et al., 2024), and Adam ignores much of it; mean, deviation or scale that the
    quantizer takes from the tensor count as constants; not defined where the codes are not a rising
    function of the latents or the backward mixes weights.

    Source: this project's; the noise view of estimators, Spallanzani et al., arXiv:1905.10452.
    """
    probe = measurement.probe
    for name, layer, quantizer in measurement.weights():
        if not _is_diagonal(probe, name):
            continue
        steps = find_staircase(quantizer.codes, layer.weight)
        if steps is None:
            continue
        scales = {share: steps.sigma(share) for share in shares}
        curve = {
            share: alignment(probe.gradients[name], steps.density(sigma))
            for share, sigma in scales.items()
            if sigma is not None
        }
        if curve:
            yield from _readings(name, curve)


def alignment(gradients: LayerGradients, density: Tensor) -> Tensor:
    """rho_J, 0-dim float64; not finite where g or gamma D is zero.

    Args:
        gradients: gamma and g.
        density: D, of their shape.
    """
    gamma = gradients.at_used.double()
    counted = gamma.abs() >= 1e-12 * gamma.abs().max()
    have = torch.where(counted, gradients.latent.double(), 0.0)
    want = torch.where(counted, gamma * density, 0.0)
    cosine: Tensor = (have * want).sum() / (have.norm() * want.norm())
    return cosine


def _readings(name: str, curve: dict[float, Tensor]) -> Iterator[Reading | Points]:
    values = torch.stack(list(curve.values()))
    if not bool(values.isfinite().all()):
        return
    shares = torch.tensor(list(curve), dtype=torch.float64)
    yield Points(name, "gradient/jacobian_alignment", shares, values)
    for share, value in curve.items():
        yield Reading(name, f"gradient/jacobian_alignment_{percent(share)}", value)
    yield Reading(name, "gradient/jacobian_alignment_max", values.max())
    yield Reading(name, "gradient/jacobian_alignment_at", shares.to(values.device)[values.argmax()])


def _is_diagonal(probe: Probe, name: str) -> bool:
    """Whether a latent's gradient stays when the gradient at half of the other weights is taken."""
    whole = probe.gradients[name]
    layer = probe.layers[name]
    half = probe.random("jacobian", name).random(tuple(layer.weight.shape)) < 0.5
    kept = torch.from_numpy(half).to(layer.weight.device)
    alone = latent_gradient(layer, torch.where(kept, whole.at_used, 0.0))
    change = torch.where(kept, alone - whole.latent, 0.0).norm()
    return bool(change <= _DIAGONAL * torch.where(kept, whole.latent, 0.0).norm())
