"""What a trial ran on: versions, machine, device. Recorded, never part of its identity."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import qbench
from qbench.memory import peak_of_process

__all__ = ["describe_environment", "peak_memory", "reset_peak_memory"]

CLEAR = Path("/proc/self/clear_refs")
"""Of Linux: writing 5 here lets a process's peak start anew."""
LIBRARIES = ("torch", "torchvision", "numpy", "ray", "mlflow", "torchao", "brevitas")


def describe_environment(
    device: str, threads: int, started: float, finished: float, engine: str
) -> dict[str, object]:
    """The facts for ``environment.json``; times are Unix seconds.

    ``peak_memory_bytes`` is, since the last :func:`reset_peak_memory`, what torch allocated on a
    GPU; on a CPU what the whole process held, libraries included. ``peak_memory_is_own`` says
    whether it could start anew, so that a worker's earlier trials are not in it. ``node`` is Ray's
    id of the machine, which is empty without Ray.
    """
    on_gpu = device.startswith("cuda")
    return {
        "versions": _versions(),
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "host": platform.node(),
        },
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "threads": threads,
        "engine": engine,
        "peak_memory_bytes": peak_memory(device),
        "peak_memory_is_own": on_gpu or os.access(CLEAR, os.W_OK),
        "node": os.environ.get("QBENCH_NODE", ""),
        "started": started,
        "finished": finished,
    }


def reset_peak_memory(device: str) -> None:
    """Let the peak start anew at what is held now, where the system can."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # only Linux can
            CLEAR.write_text("5")


def peak_memory(device: str) -> int:
    """Bytes at the peak since it was reset; see :func:`describe_environment`."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    return peak_of_process()


@cache
def _versions() -> dict[str, str]:
    found = {"qbench": qbench.__version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a trial needs no more than torch and numpy
    return found


@cache
def _commit() -> str:
    folder = Path(qbench.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
