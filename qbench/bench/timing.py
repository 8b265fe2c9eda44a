"""Interleaved timing: the minimum over rounds of each arm, and what one arm gives when run twice.

Other load only ever adds time, so the smallest of many rounds is the nearest to what an arm costs,
and arms that take turns meet the same load. One arm runs twice a round: the ratio of its two minima
is the error bar of every other ratio.
"""

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from qbench.garbage import no_collection

__all__ = ["Arm", "Spent", "Timing", "Watch", "cpu_watch", "cuda_watch", "measure", "watch_of"]

Arm = Callable[[], object]


class Spent(NamedTuple):
    """What one call took."""

    seconds: float
    """Of processor time on a CPU, ended child processes included; of the device's on a GPU."""
    wall: float


Watch = Callable[[Arm], Spent]
"""Calls an arm once and says what it took."""


@dataclass(frozen=True)
class Timing:
    """The smallest times over all rounds."""

    seconds: Mapping[str, float]
    """By arm; see :class:`Spent`."""
    wall: Mapping[str, float]
    error: float
    """The A/A ratio, at least 1: ratios nearer to 1 than this say nothing."""

    def ratio(self, slow: str, fast: str) -> float:
        """How many times the seconds of ``fast`` the arm ``slow`` takes."""
        return self.seconds[slow] / self.seconds[fast]


def measure(
    arms: Mapping[str, Arm], *, rounds: int, watch: Watch, twice: str = "", warmup: int = 1
) -> Timing:
    """Time arms in turns; the arm that begins changes from round to round.

    Args:
        arms: What to call, by name.
        rounds: How often each is timed.
        watch: Takes the time.
        twice: The arm that runs twice a round; by default the first.
        warmup: Calls of each arm before the first round.
    """
    calls: list[tuple[str, int, Arm]] = [(name, 0, arm) for name, arm in arms.items()]
    twice = twice or calls[0][0]
    calls.append((twice, 1, arms[twice]))
    for _ in range(warmup):
        for arm in arms.values():
            arm()
    best: dict[tuple[str, int], Spent] = {}
    for number in range(rounds):
        turn = number % len(calls)
        for name, copy, arm in calls[turn:] + calls[:turn]:
            gc.collect()
            with no_collection():
                spent = watch(arm)
            known = best.get((name, copy), spent)
            best[name, copy] = Spent(min(known[0], spent[0]), min(known[1], spent[1]))
    pair = [best[twice, copy].seconds for copy in (0, 1)]
    return Timing(
        {name: best[name, 0].seconds for name in arms},
        {name: best[name, 0].wall for name in arms},
        max(pair) / min(pair),
    )


def cpu_watch(call: Arm) -> Spent:
    """Processor time of this process, all its threads and the children that end in the call."""
    seconds, wall = _processor_seconds(), time.perf_counter()
    call()
    return Spent(_processor_seconds() - seconds, time.perf_counter() - wall)


def cuda_watch(call: Arm) -> Spent:
    """The device's time from the call's start until all that it started is done."""
    begin, end = (_event() for _ in range(2))
    torch.cuda.synchronize()
    wall = time.perf_counter()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    seconds: float = begin.elapsed_time(end) / 1000
    return Spent(seconds, time.perf_counter() - wall)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def watch_of(device: str) -> Watch:
    """The watch for a device, ``cpu`` or ``cuda``."""
    return cuda_watch if device.startswith("cuda") else cpu_watch


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
