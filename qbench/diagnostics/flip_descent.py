"""G4: does the optimizer's own update lower the deployed loss, at a given number of code moves?"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.flips import flips, percent
from qbench.diagnostics.probe import Probe
from qbench.models.layers import QuantLayer
from qbench.registry import diagnostics

__all__ = ["flip_descent", "scale_to_changes"]

_BISECTIONS = 32  # 28 e-folds / 2^32: as fine as float32 tells steps apart


@diagnostics.register(
    "flip_descent",
    window=True,
    unit="1",
    tracked=("gradient/descent_ratio_1pct", "gradient/update_z_1pct"),
)
def flip_descent(
    measurement: Measurement,
    *,
    sets: int = 64,
    shares: tuple[float, ...] = (0.002, 0.01, 0.05),
) -> Iterator[Reading]:
    """Actual over predicted decrease of the deployed loss, along the gradient and the update.

    Formula: u is -g (``descent_…``), or what the optimizer added to the latents theta in the last
    steps of the epoch (``update_…``, the study's ``window``); t is such that a share p of the
    layer's codes differs between theta and theta + t u;  dW = W(theta + t u) - W(theta);
    ratio = (F(theta) - F(theta + t u)) / (-gamma . dW),
    z = (F(theta) - F(theta + t u)) / sd of the loss's changes over random flip sets of that size.

    Meaning: the ratio is that of trust regions: 1 says that the loss falls as the gradient
    promises, below 0 that it rises where the method believes it falls. z says how much better the
    method's choice of codes is than a random one; below 0 the loss rises.

    Range: any; 1 is ideal for the ratio, and z large. A ratio is given only where the promise
    exceeds one sd of those of random flip sets: below, it would be of any size.

    Cost: two forwards from the layer on, for each layer and share, and the flip sets' K where
    ``flip_sets`` did not compute them.

    Misleads: the update carries momentum, weight decay and the noise of its minibatches, which late
    in training is most of it, so that its z is near 0 or below. A direction that promises a rise
    (a negated gradient) and keeps it has a ratio above 0 and a z below. A layer moves alone, in
    training all do.

    Source: the ratio, Conn, Gould, Toint, Trust-Region Methods, SIAM 2000; at equal numbers of code
    moves, this project's.
    """
    for name, layer, _ in measurement.weights():
        directions = {"descent": -measurement.probe.gradients[name].latent}
        update = measurement.memory.get(f"window/update/{name}")
        if update is not None:
            directions["update"] = update.to(layer.weight.device)
        for what, direction in directions.items():
            yield from _along(measurement.probe, name, what, direction, shares, sets)


def _along(
    probe: Probe, name: str, what: str, direction: Tensor, shares: Sequence[float], sets: int
) -> Iterator[Reading]:
    spreads = [[part.std(ddof=1) for part in flips(probe, name, p, sets)] for p in shares]
    weights = [_moved(probe.layers[name], direction, share) for share in shares]
    with probe.suffix(name) as suffix:
        for share, weight, (expected, actual) in zip(shares, weights, spreads, strict=True):
            if weight is None:
                continue
            decrease = -suffix.loss(weight)
            moved = weight.double() - suffix.weight.double()
            promised = -(probe.gradients[name].at_used.double() * moved).sum()
            if bool((promised != 0) & (promised.abs() >= expected)):
                yield Reading(name, f"gradient/{what}_ratio_{percent(share)}", decrease / promised)
            if actual > 0:
                yield Reading(name, f"gradient/{what}_z_{percent(share)}", decrease / actual)


@torch.no_grad()
def _moved(layer: QuantLayer, direction: Tensor, share: float) -> Tensor | None:
    """The deployed weight with a share of its codes changed along a direction, if any t does so."""
    quantizer, theta = layer.weight_quantizer, layer.weight
    if quantizer is None:
        return None
    wanted = min(max(1, round(share * theta.numel())), theta.numel())
    scale = scale_to_changes(lambda x: quantizer.codes(x)[0], theta, direction, wanted)
    return None if scale is None else quantizer.deployed(theta + scale * direction)


def scale_to_changes(
    codes: Callable[[Tensor], Tensor], theta: Tensor, direction: Tensor, wanted: int
) -> Tensor | None:
    """The t at which ``wanted`` codes differ between theta and theta + t u, 0-dim.

    Bisection of log t; no losses are computed.

    Args:
        codes: The codes of latents.
        theta: The latents.
        direction: u, of their shape.
        wanted: How many codes, at least one.

    Returns:
        Nothing where no t comes within a tenth, or one code, of the number.
    """
    before = codes(theta)

    def changes(scale: Tensor) -> Tensor:
        return (codes(theta + scale * direction) != before).sum()

    unit = theta.norm() / direction.norm()
    if not bool(unit.isfinite() & (unit > 0)):
        return None
    low, high = (unit * 1e-8).log(), (unit * 1e4).log()
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = changes(middle.exp()) >= wanted
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    ends = torch.stack([low, high]).exp()
    missed = torch.stack([(changes(end) - wanted).abs() for end in ends])
    nearest = missed.argmin()
    return ends[nearest] if bool(missed[nearest] <= max(1, 0.1 * wanted)) else None
