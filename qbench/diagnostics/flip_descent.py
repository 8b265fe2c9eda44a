"""G4: does the optimizer's own update lower the deployed loss, at a given number of code moves?"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.flips import flips, percent
from qbench.diagnostics.probe import Probe
from qbench.registry import diagnostics

__all__ = ["flip_descent", "scale_to_changes", "update_direction"]

_BISECTIONS = 32  # 28 e-folds / 2^32: as fine as float32 tells steps apart


@diagnostics.register(
    "flip_descent",
    window=True,
    unit="1",
    tracked=("gradient/descent_ratio_1pct", "gradient/descent_z_1pct"),
)
def flip_descent(
    measurement: Measurement,
    *,
    sets: int = 64,
    shares: tuple[float, ...] = (0.002, 0.01, 0.05),
    along: Literal["update", "gradient"] = "update",
) -> Iterator[Reading]:
    """Actual over predicted decrease of the deployed loss along the optimizer's update.

    Formula: u is the last update of the latents theta, or -g where none is kept or with
    ``along: gradient``; t is such that a share p of the layer's codes differs between theta and
    theta + t u;  dW = W(theta + t u) - W(theta);
    ratio = (F(theta) - F(theta + t u)) / (-gamma . dW),
    z = (F(theta) - F(theta + t u)) / sd of the loss's changes over random flip sets of that size.

    Meaning: the ratio is that of trust regions: 1 says that the loss falls as the gradient
    promises, below 0 that it rises where the method believes it falls. z says how much better the
    method's choice of codes is than a random one.

    Range: any; 1 is ideal for the ratio, and z large.

    Cost: one forward from the layer on, for each layer and share, and the flip sets' K where
    ``flip_sets`` did not compute them.

    Misleads: the last update carries momentum, weight decay and the noise of its minibatch, which
    late in training is most of it: then z is near 0 or below, and the ratio, which would be of any
    size, is given only where the promise exceeds one sd of those of the flip sets. A layer moves
    alone, in training all do.

    Source: the ratio, Conn, Gould, Toint, Trust-Region Methods, SIAM 2000; at equal numbers of code
    moves, this project's.
    """
    probe = measurement.probe
    for name in measurement.layers:
        if probe.layers[name].weight_quantizer is None:
            continue
        direction = update_direction(
            probe.layers[name].weight.detach(),
            measurement.memory.get(f"window/update/{name}") if along == "update" else None,
            probe.gradients[name].latent,
        )
        for share in shares:
            found = _descend(probe, name, direction, share)
            if found is None:
                continue
            decrease, promised = found
            expected, actual = (part.std(ddof=1) for part in flips(probe, name, share, sets))
            if bool((promised != 0) & (promised.abs() >= expected)):
                ratio = f"gradient/descent_ratio_{percent(share)}"
                yield Reading(name, ratio, decrease / promised)
            if actual > 0:
                yield Reading(name, f"gradient/descent_z_{percent(share)}", decrease / actual)


def update_direction(theta: Tensor, update: Tensor | None, gradient: Tensor) -> Tensor:
    """The optimizer's last update, or minus the gradient where that says nothing.

    An update near the rounding of the latents, as at the end of a schedule, has no direction.

    Args:
        theta: The latents.
        update: What the last step added to them, if it was kept.
        gradient: g, of their shape.
    """
    if update is None:
        return -gradient
    update = update.to(theta)
    rounding = torch.finfo(theta.dtype).eps * theta.norm()
    return torch.where(update.norm() > 10 * rounding, update, -gradient)


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


def _descend(
    probe: Probe, name: str, direction: Tensor, share: float
) -> tuple[Tensor, Tensor] | None:
    """The loss's decrease along a direction, and what gamma promises."""
    layer = probe.layers[name]
    if layer.weight_quantizer is None:
        raise TypeError(f"the weight of {name} is not quantized")
    quantizer, theta = layer.weight_quantizer, layer.weight.detach()
    wanted = min(max(1, round(share * theta.numel())), theta.numel())
    with torch.no_grad():
        scale = scale_to_changes(lambda x: quantizer.codes(x)[0], theta, direction, wanted)
        if scale is None:
            return None
        weight = quantizer.deployed(theta + scale * direction)
    moved = weight.double() - probe.deployed[name].double()
    with probe.suffix(name) as suffix:
        decrease = -suffix.loss(weight)
    return decrease, -(probe.gradients[name].at_used.double() * moved).sum()
