"""The memory of this process."""

import resource
import sys
from pathlib import Path

__all__ = ["peak_of_process"]


def peak_of_process() -> int:
    """The most bytes that it held, of Linux since its peak was last cleared.

    Linux's ``ru_maxrss`` is the fallback only: a process inherits it from the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024
    except (OSError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
