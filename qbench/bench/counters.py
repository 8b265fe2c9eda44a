"""Exact costs of a training step, pinned in ``cost.json``; no clock, so any machine will do.

What is counted is the third step of a ResNet-20 on 8 random images of 32x32 pixels, as training
makes it (:mod:`qbench.training.setup`, the recipe's defaults, channels_last, the optimizers
included). The first step is training's first; the other two lie in its middle, so that schedules
stand there and the optimizers have their state. :mod:`qbench.training.operators` says what a
kernel, a byte and a host sync are. The optimizers are counted in the form that the CPU runs, a few
calls a parameter; a GPU joins them.

A method's own cost is its difference to ``float``. ``python -m qbench.bench.counters`` counts all
rows, writes the file again, and prints them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from qbench.bench.outcome import Outcome, Setting, Table
from qbench.models.build import build_model
from qbench.models.convert import initialize
from qbench.quantizers.contract import Progress
from qbench.registry import quantizers
from qbench.study.schema import Bits, Component, Training, options_text
from qbench.study.trial import Trial, TrialData
from qbench.training.engine import Engine
from qbench.training.operators import Counts, count
from qbench.training.optimizers import make_optimizers
from qbench.training.setup import quantized

__all__ = ["BATCH", "FILE", "Row", "count_rows", "count_step", "read_rows", "rows", "run"]

BATCH = 8
"""Images in the counted batch; kernels and host syncs do not depend on it, bytes do."""
FILE = Path(__file__).with_name("cost.json")
"""The committed counts."""
SLOW_FORMS: tuple[Component, ...] = (
    Component(name="daq", options={"rounding": "soft"}),  # the graph of the soft arg-max
    Component(name="metaquant", options={"activation": "relu"}),  # two numbers in place of one
    Component(name="metaquant", options={"activation": "tanh"}),  # the whole net for each weight
    Component(name="metaquant", options={"meta": "multifc"}),
    Component(name="metaquant", options={"meta": "lstmfc"}),
    Component(name="quantnet", options={"mix": "elementwise"}),
    # Sigmoids that stay so wide that none can be left out.
    Component(name="quantization_networks", options={"temperature_rate": 0.01}),
)
"""Options under which a method's closed or shortened form does not hold, and other costly ones."""
HEADS = ("quantizer", "options", "bits", "kernels", "own", "MB", "own MB", "host syncs", "MFLOP")
_EPOCHS, _STEPS = 200, 390  # of a training on 50,000 images in batches of 128


@dataclass(frozen=True)
class Row:
    """One line of the file: what was counted."""

    quantizer: str
    bits: str
    """Such as ``W1A32``."""
    options: str
    """Options that differ from their defaults, as reports print them."""
    counts: Counts


def count_step(quantizer: str, bits: Bits, options: Mapping[str, Any]) -> Counts:
    """Count one training step of ResNet-20; draws from torch's global random numbers, seeded.

    Args:
        quantizer: The registered name.
        bits: Of weights and of activations; ``W32A32`` is the plain float step.
        options: The quantizer's options that differ from their defaults.
    """
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    images = images.to(memory_format=torch.channels_last)
    model, training = _network(quantizer, bits, options), Training(epochs=_EPOCHS)
    initialize(model, images)
    optimizers = make_optimizers(model, training)
    engine = Engine(model.train(), optimizers, training)
    middle = _EPOCHS * _STEPS // 2
    engine.step((images, labels), _at(0))
    engine.step((images, labels), _at(middle))
    return count(lambda: engine.step((images, labels), _at(middle + 1)), optimizers)


def _network(quantizer: str, bits: Bits, options: Mapping[str, Any]) -> nn.Module:
    trial = Trial(
        quantizer=Component(name=quantizer, options=dict(options)),
        model=Component(name="resnet20"),
        data=TrialData(name="random images"),
        bits=bits,
        seed=0,
    )
    model = quantized(build_model(trial.model, channels=3, classes=10, size=32), trial)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _at(step: int) -> Progress:
    return Progress(step, _EPOCHS * _STEPS, step // _STEPS, _EPOCHS, learning_rate=0.05)


def rows() -> list[tuple[Component, Bits]]:
    """What the file holds, in its order: every method that comes with qbench, then slow forms.

    A method is counted at W1A32 (at its fewest bits, where it has no 1-bit weights) and, where it
    quantizes activations too, at W4A4 and, without options, at W32A4.
    """
    built_in = [
        Component(name=name)
        for name, entry in quantizers.entries().items()
        if entry.module.startswith(f"{quantizers.package}.")
        and entry.facts["bits"]
        # a family has no bits, its members are of libraries; and what is fitted takes no step
        and entry.facts.get("family") != "post-training"
    ]
    found = []
    for method in sorted([*built_in, *SLOW_FORMS], key=lambda method: method.label):
        can = quantizers.entry(method.name).facts["bits"]
        found.append((method, Bits(weight=min(can["weight"]), activation=32)))
        if 4 in can.get("activation", ()):
            widths = (4,) if method.options else (32, 4)
            found += [(method, Bits(weight=width, activation=4)) for width in widths]
    return found


def count_rows(wanted: Iterable[tuple[Component, Bits]]) -> list[Row]:
    """Count methods at their bits.

    Args:
        wanted: What; all that the file holds is :func:`rows`.
    """
    return [
        Row(
            method.name,
            str(bits),
            options_text(method.options),
            count_step(method.name, bits, method.options),
        )
        for method, bits in wanted
    ]


def read_rows() -> list[Row]:
    """The committed rows."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    return [Row(**row | {"counts": Counts(**row["counts"])}) for row in found]


def _write(counted: Sequence[Row]) -> None:
    content = {
        "batch": BATCH,
        "model": "resnet20",
        "rows": [asdict(row) for row in counted],
        "torch": torch.__version__.split("+")[0],  # without the build for a device
    }
    FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def run(setting: Setting) -> Outcome:
    """Count every row; the committed file stays as it is."""
    wanted = rows()
    if setting.quick:
        wanted = [wanted[0], *(row for row in wanted if str(row[1]) == "W32A32")]
    lines = tuple(tuple(line) for line in _lines(count_rows(wanted)))
    title = f"One step of ResNet-20, batch {BATCH}"
    return Outcome((Table(title, HEADS, lines, "own: the difference to float."),))


def _lines(counted: Sequence[Row]) -> list[tuple[str | int, ...]]:
    (plain,) = (row.counts for row in counted if row.bits == "W32A32")
    return [
        (
            row.quantizer, row.options, row.bits, row.counts.kernels,
            row.counts.kernels - plain.kernels, f"{row.counts.bytes / 1e6:.1f}",
            f"{(row.counts.bytes - plain.bytes) / 1e6:.1f}", row.counts.host_syncs,
            f"{row.counts.flops / 1e6:.1f}",
        )
        for row in counted
    ]  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    counted_now = count_rows(rows())
    _write(counted_now)
    print(tabulate(_lines(counted_now), HEADS, tablefmt="github", disable_numparse=True))
