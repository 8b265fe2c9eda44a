"""What this machine has, asked without Ray or torch, and whether a trial's request fits."""

import ctypes
import os
from pathlib import Path

from qbench.errors import UsageError
from qbench.study.schema import Resources

__all__ = ["check_gpus", "check_request", "count_cpus", "count_gpus"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "MICROSECONDS PERIOD" or "max PERIOD", in a container


def count_cpus() -> int:
    """The cores that this process may use: its affinity, and a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return max(cores, 1)


def count_gpus() -> int:
    """The CUDA devices that this process may use; the driver heeds CUDA_VISIBLE_DEVICES."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            cuda = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def check_gpus(resources: Resources) -> None:
    """Refuse GPUs that this machine does not have.

    Raises:
        UsageError: Fewer GPUs are usable than one trial asks for.
    """
    if resources.gpus == 0:
        return
    count = count_gpus()
    if resources.gpus > count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is '{visible}')"
        raise UsageError(
            f"resources.gpus is {resources.gpus:g}, but this machine has {count} usable GPUs"
            f"{hint}; set resources.gpus to at most {count}, 0 trains on the CPU"
        )


def check_request(resources: Resources) -> None:
    """Refuse a request that no machine can meet.

    Raises:
        UsageError: More than one GPU is asked for, and not a whole number.
    """
    if resources.gpus > 1 and not resources.gpus.is_integer():
        raise UsageError(
            f"resources.gpus is {resources.gpus:g}; allowed: a fraction up to 1, or a whole number"
        )


def check_cpus(resources: Resources) -> None:
    """Refuse cores that this machine does not have.

    Raises:
        UsageError: One trial asks for more cores than this process may use.
    """
    cores = count_cpus()
    if resources.cpus > cores:
        raise UsageError(
            f"resources.cpus is {resources.cpus}, but this machine has {cores} usable cores; "
            f"set resources.cpus to at most {cores}"
        )
