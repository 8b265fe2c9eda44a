"""S3: how much of the movement of the codes leads somewhere."""

from collections.abc import Iterator

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.window import seen
from qbench.registry import diagnostics

__all__ = ["flip_efficiency"]


@diagnostics.register(
    "flip_efficiency", window=True, unit="1", tracked=("dynamics/flip_efficiency",)
)
def flip_efficiency(measurement: Measurement) -> Iterator[Reading]:
    """Net over gross movement of the codes in the last steps of the epoch.

    Formula: eta = sum_i |c_N - c_0| / sum_t sum_i |c_t+1 - c_t|, codes counted in levels, over the
    N observed steps.

    Meaning: 1 where every move is kept, near 0 where codes go back and forth (churn).

    Range: 0 to 1; not defined, so not told, where no code of the layer moved.

    Cost: no forward; shares the window with ``flip_rate``.

    Misleads: it falls with N (1 at a single step), so windows of different lengths do not compare;
    where few codes move it rests on few events.

    Source: this project's, after the ratio of displacement to path length.
    """
    for name in measurement.layers:
        window = seen(measurement.memory, name)
        if window is None or not bool(window["path"] > 0):
            continue
        start = window["start"].to(window["codes"].device)
        net = (window["codes"] - start).abs().sum()
        yield Reading(name, "dynamics/flip_efficiency", net.double() / window["path"])
