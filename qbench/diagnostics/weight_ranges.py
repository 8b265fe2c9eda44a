"""How wide latent weights and layer inputs are, and how unevenly over channels."""

from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.finite import finite
from qbench.registry import diagnostics

__all__ = ["ranges", "weight_ranges"]


@diagnostics.register(
    "weight_ranges", unit="of the tensor, or 1", tracked=("ranges/weight_channel_ratio",)
)
def weight_ranges(measurement: Measurement) -> Iterator[Reading]:
    """Range and shape of the latent weights and of the inputs that a few levels have to cover.

    Formula: ``largest`` = max|x|;  ``channel_range`` = mean over channels of max x - min x;
    ``channel_ratio`` = the largest such range / their mean;  ``kurtosis`` =
    E[(x - mean)^4] / E[(x - mean)^2]^2 of the whole tensor. Of the latent weights (``weight_``,
    channels of the output) and of a layer's input before its quantizer (``input_``, channels of the
    input) in the training forward of the diagnostic batch.

    Meaning: one range for a whole tensor is the widest channel's, so with a ratio of 4 an even grid
    spends two bits on that channel alone. Heavy tails waste levels likewise. Networks of equal
    float accuracy that started from other distributions can differ here, and then lose differently
    when they are quantized.

    Range: ratio from 1 to the number of channels; kurtosis from 1 (two values), 1.8 (uniform),
    3 (Gaussian), no upper end.

    Cost: one forward.

    Misleads: maxima grow with the number of values and hang on single ones. Batch norm undoes the
    scale of a weight's channel, so that ranges of weights alone decide nothing where a method has a
    scale a channel. Only quantized layers are looked at, and inputs are those that the quantized
    layers before them make; with ``start: float`` the measurement before training shows the float
    network's weights.

    Source: Yun and Wong, 2020, arXiv:2011.14578.
    """
    layers = {name: measurement.probe.layers[name] for name in measurement.layers}
    inputs: dict[str, dict[str, Tensor]] = {}
    with torch.no_grad():
        with ExitStack() as stack:
            for name, layer in layers.items():

                def look(part: nn.Module, values: tuple[Tensor, ...], name: str = name) -> None:
                    if name not in inputs:  # of a layer that is called twice, the first input
                        axis = values[0].ndim - 1 if isinstance(part, nn.Linear) else 1
                        inputs[name] = ranges(values[0], axis)

                stack.callback(layer.register_forward_pre_hook(look).remove)
            measurement.probe.losses("training")
        for name, layer in layers.items():
            for of, found in (("weight", ranges(layer.weight, 0)), ("input", inputs[name])):
                readings = [Reading(name, f"ranges/{of}_{key}", x) for key, x in found.items()]
                yield from finite(readings)


def ranges(x: Tensor, axis: int) -> dict[str, Tensor]:
    """The four numbers of one tensor, 0-dim; not a number where all values are equal.

    Args:
        x: Any shape.
        axis: That of the channels.
    """
    channels = x.detach().movedim(axis, 0).flatten(1)
    lowest, highest = channels.aminmax(dim=1)
    width = highest.double() - lowest.double()
    centred = channels.double() - channels.double().mean()
    square = centred.square()
    return {
        "largest": channels.abs().amax(),
        "channel_range": width.mean(),
        "channel_ratio": width.amax() / width.mean(),
        "kurtosis": square.square().mean() / square.mean().square(),
    }
