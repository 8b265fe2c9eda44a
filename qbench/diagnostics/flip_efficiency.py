"""S3: how much of the movement of the codes leads somewhere, and how far it leads."""

from collections.abc import Iterator

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.window import seen
from qbench.registry import diagnostics

__all__ = ["flip_efficiency"]


@diagnostics.register(
    "flip_efficiency", window=True, unit="1", tracked=("dynamics/flip_efficiency",)
)
def flip_efficiency(measurement: Measurement) -> Iterator[Reading]:
    """Net over gross movement of the codes in the last steps of the epoch, and the net share.

    Formula: ``flip_efficiency``: eta = sum_i |c_N - c_0| / sum_t sum_i |c_t+1 - c_t|, codes counted
    in levels, over the N observed steps; ``window_change``: mean_i 1[c_N != c_0].

    Meaning: eta is 1 where every move is kept, near 0 where codes go back and forth (churn).
    ``window_change`` is the scale p at which N steps move the network: what the gradient says of
    flip sets and noise of that size is what matters to training.

    Range: 0 to 1; eta is not defined, so not told, where no code of the layer moved.

    Cost: no forward; shares the window with ``flip_rate``.

    Misleads: eta falls with N (1 at a single step) and the change grows with it, so windows of
    different lengths do not compare; where few codes move eta rests on few events. At the end of a
    schedule the change is that of the smallest learning rate.

    Source: this project's, after the ratio of displacement to path length.
    """
    for name in measurement.layers:
        window = seen(measurement.memory, name)
        if window is None:
            continue
        moved = (window["codes"] - window["start"].to(window["codes"].device)).abs()
        yield Reading(name, "dynamics/window_change", (moved > 0).double().mean())
        if bool(window["path"] > 0):
            net = moved.sum().double() / window["path"]
            yield Reading(name, "dynamics/flip_efficiency", net)
