"""Everything that one wants to know of a GPU, in one call of less than eight minutes.

The suites ``limits``, ``step``, ``paper_style`` and ``input`` on the device; every engine with two
batch sizes and each precision; and several trials side by side, each in a process of its own, as
workers with a fraction of a GPU are. Imports neither ray nor mlflow. What no time is left for
stays unmeasured, and the page says so.
"""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from qbench.bench import input as input_suite
from qbench.bench import limits, paper_style, step
from qbench.bench.cases import Case, images_of, make
from qbench.bench.outcome import Cell, Outcome, Setting, Table
from qbench.bench.timing import measure, watch_of
from qbench.errors import UsageError

__all__ = ["GridCell", "grid", "run", "side_by_side"]

_SECONDS = 400.0
"""After so many no further cell of the grid is begun; what is left takes less than a minute."""
_EPOCH = 50_000  # images
_ENGINES = ("eager", "captured", "compiled")  # those that are quick to make first
_FASTEST = "captured"
_PRECISIONS = ("float32", "tf32", "bf16")
_GRID = (("float", "W32A32"), ("ste", "W1A32"), ("daq", "W1A32"), ("daq", "W4A4"))


@dataclass(frozen=True)
class GridCell:
    """One cell of engine × batch × precision."""

    case: Case
    engine: str
    precision: str
    seconds: float | None
    """Of a step; nothing where it was not measured."""

    @property
    def epoch(self) -> float | None:
        """Seconds of 50,000 images."""
        return None if self.seconds is None else self.seconds * (_EPOCH // self.case.batch)

    def row(self) -> tuple[Cell, ...]:
        """A line of the table."""
        case = self.case
        images = None if self.seconds is None else case.batch / self.seconds
        milliseconds = None if self.seconds is None else 1000 * self.seconds
        return (case.quantizer, case.bits, self.engine, case.batch, self.precision, milliseconds,
                images, self.epoch)  # fmt: skip


def grid(setting: Setting, until: float) -> list[GridCell]:
    """Time a step in every cell, those that are quick to make first.

    Args:
        setting: Where, and whether at tiny sizes.
        until: What is not begun by then, in monotonic seconds, stays unmeasured.
    """
    batches, model, side = ((4, 8), "resnet8", 8) if setting.quick else ((128, 512), "resnet20", 32)
    found = []
    engines = _ENGINES[:2] if setting.quick else _ENGINES  # to compile takes half a minute a case
    for engine, precision, batch in product(engines, _PRECISIONS, batches):
        images = images_of(batch, 1, side)
        for name, bits in _GRID:
            case = Case(name, bits, model, batch)
            seconds = None
            if time.monotonic() < until:
                made = make(case, images, setting.device, engine=engine, precision=precision)
                rounds = 2 if setting.quick else 30
                watch = watch_of(setting.device)
                seconds = measure({"": made.step}, rounds=rounds, watch=watch).seconds[""]
            found.append(GridCell(case, engine, precision, seconds))
    return found


def _worker(case: Case, device: str, engine: str, steps: int, ready: Any, spans: Any) -> None:
    torch.set_num_threads(1)
    side = 8 if case.model == "resnet8" else 32
    made = make(case, images_of(case.batch, 1, side), device, engine=engine)
    for _ in range(3):
        made.step()
    _finish(device)
    ready.wait(timeout=180)
    begin = time.monotonic()
    for _ in range(steps):
        made.step()
    _finish(device)
    spans.put((begin, time.monotonic()))


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def side_by_side(count: int, case: Case, device: str, engine: str, steps: int) -> float:
    """Images a second of ``count`` equal trials together, each in its own process.

    Args:
        count: How many trials.
        case: What each trains.
        device: ``cuda``, or ``cpu`` for trying.
        engine: The make of their engines.
        steps: Steps of each.
    """
    # A process that has used a GPU cannot be forked.
    context: Any = multiprocessing.get_context("fork" if device == "cpu" else "spawn")
    ready, spans = context.Barrier(count), context.Queue()
    given = (case, device, engine, steps, ready, spans)
    processes = [context.Process(target=_worker, args=given, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    known = [spans.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    wall: float = max(end for _, end in known) - min(begin for begin, _ in known)
    return count * steps * case.batch / wall


def _side_by_side(setting: Setting) -> tuple[Table, float]:
    """Throughput of 1, 2, 4 and 8 trials, and what four bring."""
    case = Case("ste", "W1A32", *(("resnet8", 4) if setting.quick else ("resnet20", 128)))
    counts, steps = ((1, 2), 3) if setting.quick else ((1, 2, 4, 8), 200)
    found = {count: side_by_side(count, case, setting.device, _FASTEST, steps) for count in counts}
    rows = tuple((count, images, images / found[1]) for count, images in found.items())
    title = f"{case.name} side by side on one device, {_FASTEST}"
    table = Table(title, ("trials", "images/s together", "times one alone"), rows)
    return table, found[min(4, counts[-1])] / found[1]


def run(setting: Setting) -> Outcome:
    """Measure everything on the GPU; with ``quick`` on the CPU too.

    Raises:
        UsageError: There is no GPU.
    """
    begin = time.monotonic()
    if setting.device == "cpu" and not setting.quick:
        raise UsageError(
            "the suite 'gpu' needs a CUDA device, and torch finds none; leave it out, or try its "
            "parts on the CPU with --quick"
        )
    parts: list[Callable[[Setting], Outcome]] = [limits.run, step.run, input_suite.run]
    tables = [table for part in parts for table in part(setting).tables]
    trials = [paper_style.run(setting, engine) for engine in ("eager", _FASTEST)]
    tables += [table for found in trials for table in found.tables]
    together, gain = _side_by_side(setting)
    cells = grid(setting, begin + _SECONDS)
    columns = ("quantizer", "bits", "engine", "batch", "precision", "ms a step", "images/s",
               "s an epoch")  # fmt: skip
    rows = tuple(cell.row() for cell in cells)
    tables += [together, Table("Engines, batch sizes and precisions", columns, rows)]
    figures = {"gpu_side_by_side": gain}
    epochs = {
        case: [cell.epoch for cell in cells if cell.case == case and cell.epoch is not None]
        for case in {cell.case for cell in cells}
        if (case.bits, case.batch) == ("W1A32", cells[0].case.batch)
    }
    if all(epochs.values()):
        figures["gpu_epoch"] = max(min(values) for values in epochs.values())
    figures["gpu_trial"] = max(found.figures["slowest"] for found in trials)
    return Outcome(tuple(tables), figures)
