"""The last steps of an epoch, watched one by one: which codes move, back and forth, and why."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Quantizer, decode

__all__ = ["MOMENTUM", "Tracker", "Window", "places", "seen", "track"]

MOMENTUM = 0.01
"""m of the moving average of oscillations (Nagel et al. 2022)."""
_STATE = ("start", "codes", "frequency", "path")
_EVENTS = ("flips", "flips_latent", "flips_scale", "oscillations")


class Tracker(NamedTuple):
    """What is remembered of each weight's moves, both of the weight's shape."""

    direction: Tensor
    """int8: the sign of the last change of the code, 0 before the first one."""
    frequency: Tensor
    """float32: the moving average f of oscillations."""


def track(tracker: Tracker, change: Tensor, momentum: float = MOMENTUM) -> tuple[Tracker, Tensor]:
    """Go one step on: a change against the last one is an oscillation.

    ``o = 1`` where the code changes and the sign of the change is opposite to that of the change
    before it, else 0; ``f <- m o + (1 - m) f`` (Nagel et al., "Overcoming oscillations in
    quantization-aware training", ICML 2022).

    Args:
        tracker: The state before the step.
        change: New code less old code, of the weight's shape.
        momentum: m.

    Returns:
        The state after the step, and o as booleans.
    """
    sign = change.sign().to(torch.int8)
    oscillates = sign * tracker.direction < 0
    frequency = tracker.frequency.lerp(oscillates.float(), momentum)
    return Tracker(torch.where(sign != 0, sign, tracker.direction), frequency), oscillates


def places(quantizer: Quantizer, weight: Tensor) -> Tensor:
    """Each code's place in the order of the level values, int16, of the weight's shape."""
    codes, codebook = quantizer.codes(weight)
    order = codebook.argsort(dim=-1, stable=True).argsort(-1)
    codes = codes.clamp(0, codebook.shape[-1] - 1)  # of NaN they are none; that run ends soon
    return decode(codes, order).to(torch.int16)


def seen(memory: dict[str, Tensor], layer: str) -> dict[str, Tensor] | None:
    """What the last window saw of a layer, or nothing if there was none.

    Returns:
        ``steps``, the number of steps; ``start`` and ``codes``, the places of the codes before
        the first and after the last step; ``frequency``, of the weight's shape; and, summed over
        weights and steps, ``path`` (levels gone over), ``flips``, ``flips_latent``,
        ``flips_scale``, ``oscillations``.
    """
    steps = memory.get("window/steps")
    if steps is None or int(steps) == 0 or f"window/codes/{layer}" not in memory:
        return None
    state = {what: memory[f"window/{what}/{layer}"] for what in _STATE}
    events = memory[f"window/events/{layer}"]
    return {"steps": steps, **state, **dict(zip(_EVENTS, events, strict=True))}


class Window:
    """Watches the last steps of each epoch.

    All that it remembers lies in the ``memory`` that is given, which a checkpoint keeps, so that a
    run cut off within a window continues bit for bit. Of each layer with a quantized weight these
    are the entries ``window/<what>/<layer>`` that :func:`seen` tells, and
    ``window/update/<layer>``, what the watched steps added to the latent weight.

    A step costs two calls of ``codes`` a layer, and does not wait for the device.
    """

    def __init__(self, model: nn.Module, *, length: int, steps_per_epoch: int) -> None:
        """Choose the layers and the steps.

        Args:
            model: The network with its quantized layers.
            length: How many steps; a shorter epoch is watched as a whole.
            steps_per_epoch: Steps of an epoch.
        """
        self.length = min(length, steps_per_epoch)
        self._layers = [
            (name, layer, layer.weight_quantizer)
            for name, layer in quantized_layers(model).items()
            if layer.weight_quantizer is not None
        ]

    @torch.no_grad()
    def see(self, memory: dict[str, Tensor], left: int) -> None:
        """Look at the weights; to be called once for each ``left`` of an epoch, 0 included.

        Args:
            memory: What is kept from call to call; changed in place.
            left: How many steps of the epoch are to come.
        """
        if left > self.length:
            return
        steps = memory.get("window/steps")
        opens = left == self.length or steps is None
        memory["window/steps"] = torch.tensor(0) if opens or steps is None else steps + 1
        for name, layer, quantizer in self._layers:
            if opens:
                self._open(memory, name, layer.weight, quantizer)
            else:
                self._observe(memory, name, layer.weight, quantizer)
            if left == 0:
                self._close(memory, name, layer.weight)
            else:
                memory[f"window/latent/{name}"] = layer.weight.clone()

    @staticmethod
    def forget(memory: dict[str, Tensor]) -> None:
        """Drop what was seen, once it is measured: it is several times as large as the weights."""
        for key in [key for key in memory if key.startswith("window/")]:
            del memory[key]

    @staticmethod
    def _open(memory: dict[str, Tensor], name: str, weight: Tensor, quantizer: Quantizer) -> None:
        now = places(quantizer, weight)
        fresh = {
            "start": now,
            "codes": now,
            "origin": weight.clone(),
            "direction": torch.zeros_like(now, dtype=torch.int8),
            "frequency": torch.zeros_like(now, dtype=torch.float32),
            "events": torch.zeros(len(_EVENTS), dtype=torch.int64, device=now.device),
            "path": torch.zeros((), dtype=torch.int64, device=now.device),
        }
        for what, value in fresh.items():
            memory[f"window/{what}/{name}"] = value

    @staticmethod
    def _observe(
        memory: dict[str, Tensor], name: str, weight: Tensor, quantizer: Quantizer
    ) -> None:
        def kept(what: str) -> Tensor:  # on the host after a checkpoint was read
            return memory[f"window/{what}/{name}"].to(weight.device)

        before, now = kept("codes"), places(quantizer, weight)
        between = places(quantizer, kept("latent"))  # the old latent with the new parameters
        change = now - before
        tracker, oscillates = track(Tracker(kept("direction"), kept("frequency")), change)
        events = torch.stack([change != 0, now != between, between != before, oscillates])
        found = {
            "codes": now,
            **tracker._asdict(),
            "events": kept("events") + events.sum(list(range(1, events.ndim))),
            "path": kept("path") + change.abs().sum(),
        }
        for what, value in found.items():
            memory[f"window/{what}/{name}"] = value

    @staticmethod
    def _close(memory: dict[str, Tensor], name: str, weight: Tensor) -> None:
        # What only a next step would need goes, so that checkpoints stay small.
        origin = memory.pop(f"window/origin/{name}").to(weight.device)
        memory[f"window/update/{name}"] = weight.detach() - origin
        for what in ("latent", "direction"):
            memory.pop(f"window/{what}/{name}", None)
