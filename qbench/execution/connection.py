"""Starts Ray on this machine, or connects to a cluster, quietly; and ends it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from qbench.errors import UsageError
from qbench.execution.resources import count_cpus, count_gpus
from qbench.study.schema import Resources

__all__ = ["connected"]

_SECONDS_TO_ANSWER = 3.0  # Ray itself tries for more than ten times as long
_STORE_BYTES = 100 * 2**20  # nothing of size goes through Ray; 75 MiB is its least


@contextmanager
def connected(resources: Resources, address: str | None) -> Iterator[int]:
    """A Ray to run trials on; one that was there before is left as it was.

    Args:
        resources: What each trial asks for.
        address: ``host:port`` or ``auto``; ``None`` starts Ray on this machine.

    Yields:
        How many trials can run at once.

    Raises:
        UsageError: The cluster cannot be reached, or none of its nodes has what a trial asks for.
    """
    if ray.is_initialized():
        yield _slots(resources, "that this process is connected to")
        return
    if address is None:
        ray.init(
            address="local",
            num_cpus=count_cpus(),
            num_gpus=count_gpus() if resources.gpus else 0,
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    else:
        _join(address)
    try:
        yield _slots(resources, f"at {address}")
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    if "://" in address:
        raise UsageError(
            f"the Ray address '{address}' is not supported; allowed: 'auto', or host:port of a "
            "cluster's head, from a machine of the cluster"
        )
    if address != "auto":
        _probe(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"there is no usable Ray cluster at '{address}': {reason}; start one with "
            "`ray start --head`, or leave the address out"
        ) from None


def _probe(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"the Ray address is '{address}'; allowed: 'auto', or host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nothing answers at the Ray address '{address}' ({error}); is the cluster running, "
            "and is this its head's port (6379 by default)?"
        ) from None


def _slots(resources: Resources, where: str) -> int:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = 0
    for node in nodes:
        fitting = node.get("CPU", 0) // resources.cpus
        if resources.gpus:
            fitting = min(fitting, node.get("GPU", 0) / resources.gpus + 1e-9)  # 1 / 0.1 < 10
        slots += int(fitting)
    if slots == 0:
        cpus, gpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in _KINDS)
        raise UsageError(
            f"a trial asks for {resources.cpus} cores and {resources.gpus:g} GPUs, but no node of "
            f"the Ray cluster {where} has them (the most are {cpus:g} cores and {gpus:g} GPUs); "
            "lower resources.cpus or resources.gpus"
        )
    return slots


_KINDS = ("CPU", "GPU")
