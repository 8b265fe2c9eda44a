"""The two numbers of the ReSTE paper, for comparison with that paper."""

from collections.abc import Iterator

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.probe import Probe, latent_gradient
from qbench.registry import diagnostics

__all__ = ["instability", "primitive", "reste_pair"]

_SMALLEST = 1e-12  # of |gamma| over its maximum: below it, g / gamma is rounding
_DIAGONAL = 1e-4  # relative: float32 rounding is 1e-6, a Jacobian that mixes weights far more


@diagnostics.register("reste_pair", unit="1", tracked=())
def reste_pair(measurement: Measurement) -> Iterator[Reading]:
    """Fitting error of the estimator, and spread of the gradient's magnitude.

    Formula: ``reste_fitting_error`` ||f(theta) - W||_2 and ``reste_instability`` Var_i |g_i|, both
    summed over layers; ``reste_fitting_error_normalised`` ||f(theta) - W||^2 / ||W||^2 and
    ``reste_instability_normalised`` Var_i |g_i| / (mean_i |g_i|)^2, mean of layers. W is the
    deployed weight. f is the function whose derivative the backward uses: of a hard forward the
    integral of j = g / gamma over theta (by channel where levels are), with the constant of
    least error; of a soft forward the training forward itself.

    Meaning: the paper's two ends of a trade: an estimator near the staircase has gradients of
    unequal size. The straight-through estimator has f = theta and a high fitting error.

    Range: 0 and above. The fitting error is not told where a hard forward's backward is no function
    of one weight at a time, nor for weights whose gamma is 0.

    Cost: no forward beyond the probe's gradient.

    Misleads: both sums grow with the number of weights and with the units of weights or loss; take
    the normalised ones for other networks. Neither says anything about the loss. The paper's
    code takes the final exponent of its schedule; here the estimator is the present one. A backward
    that is no function of theta (that looks at the gradient's sign) has no f, and its integral is
    noise.

    Source: Wu et al., ICCV 2023, "Estimator meets equilibrium perspective".
    """
    probe = measurement.probe
    errors, spreads = [], []
    for name, _, _ in measurement.weights():
        variance, relative = instability(probe.gradients[name].latent)
        spreads.append(variance)
        yield Reading(name, "gradient/reste_instability", variance)
        if bool(relative.isfinite()):
            yield Reading(name, "gradient/reste_instability_normalised", relative)
        found = _fitted(probe, name)
        if found is not None:
            fitted, deployed = (part.double() for part in found)
            errors.append((fitted - deployed).norm())
            yield Reading(name, "gradient/reste_fitting_error", errors[-1])
            share = (errors[-1] / deployed.norm()).square()
            if bool(share.isfinite()):
                yield Reading(name, "gradient/reste_fitting_error_normalised", share)
    if spreads:
        yield Reading("", "gradient/reste_instability", torch.stack(spreads).sum())
    if errors and len(errors) == len(spreads):
        yield Reading("", "gradient/reste_fitting_error", torch.stack(errors).sum())


def instability(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The variance of ``|g|`` over weights, and the same over its squared mean; 0-dim."""
    size = gradient.double().abs()
    variance = size.var(correction=0)
    return variance, variance / size.mean().square()


def primitive(theta: Tensor, slope: Tensor, value: Tensor) -> Tensor:
    """The integral of a slope that is known at scattered points, near to ``value``.

    Args:
        theta: Where, ``[n]``, in any order.
        slope: The derivative there, ``[n]``.
        value: What the integral's constant makes it equal on average, ``[n]``.

    Returns:
        f(theta), ``[n]`` float64, by the trapezoidal rule.
    """
    ascending, order = theta.double().sort()
    sorted_slope = slope.double()[order]
    pieces = ascending.diff() * (sorted_slope[1:] + sorted_slope[:-1]) / 2
    integral = torch.empty_like(ascending)
    integral[order] = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
    return integral + (value.double() - integral).mean()


def _fitted(probe: Probe, name: str) -> tuple[Tensor, Tensor] | None:
    """f(theta) and W at the weights where f is known, both ``[n]``."""
    layer, gradients, deployed = probe.layers[name], probe.gradients[name], probe.deployed[name]
    if not torch.equal(gradients.used, deployed):
        return gradients.used.flatten(), deployed.flatten()
    if not _one_by_one(probe, name) or layer.weight_quantizer is None:
        return None
    with torch.no_grad():
        _, codebook = layer.weight_quantizer.codes(layer.weight)
    rows = len(layer.weight) if codebook.ndim == 2 else 1
    tensors = (layer.weight.detach(), deployed, gradients.at_used, gradients.latent)
    known: list[tuple[Tensor, Tensor]] = []
    enough = gradients.at_used.abs().max() * _SMALLEST
    for row in zip(*(tensor.reshape(rows, -1) for tensor in tensors), strict=True):
        theta, value, gamma, g = row
        keep = (gamma.abs() > enough).nonzero()[:, 0]
        if len(keep):
            slope = g[keep].double() / gamma[keep].double()
            known.append((primitive(theta[keep], slope, value[keep]), value[keep]))
    if not known:
        return None
    fitted, values = zip(*known, strict=True)
    return torch.cat(fitted), torch.cat(values)


def _one_by_one(probe: Probe, name: str) -> bool:
    """Whether each latent's gradient depends on that weight's gamma alone."""
    layer, gradients = probe.layers[name], probe.gradients[name]
    gamma = gradients.at_used
    # At random, because gammas of a softmax sum to zero over classes, which a pattern may keep.
    drawn = probe.random("halves", name).integers(0, 2, tuple(gamma.shape))
    half = torch.from_numpy(drawn).to(gamma)
    alone = latent_gradient(layer, gamma * half)
    return bool((alone - gradients.latent * half).norm() <= _DIAGONAL * gradients.latent.norm())
