"""Starts Ray on this machine, or connects to a cluster, quietly; and ends it."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.services import find_bootstrap_address

from qbench.errors import UsageError
from qbench.execution.address import check_address
from qbench.execution.resources import count_cpus, count_gpus
from qbench.garbage import no_collection
from qbench.study.schema import Resources

__all__ = ["connected"]

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
    try:
        if address is None:
            _start(resources)
        else:
            _join(address)
        yield _slots(resources, f"at {address or 'this machine'}")
    finally:  # also where the user stops while Ray starts
        # A reference to one of Ray's objects that another thread collects while Ray ends would end
        # the process on the spot: Ray exits where its core worker is asked for and is gone.
        gc.collect()
        with no_collection():
            ray.shutdown()


def _start(resources: Resources) -> None:
    ray.init(
        address="local",
        num_cpus=count_cpus(),
        num_gpus=count_gpus() if resources.gpus else 0,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )


def _join(address: str) -> None:
    if address == "auto":
        address = find_bootstrap_address(None) or ""
        if not address:
            raise UsageError(
                "there is no Ray cluster on this machine for the address 'auto'; start one with "
                "`ray start --head`, or leave the address out"
            )
        check_address(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the Ray cluster at '{address}' cannot be joined: {str(error).strip()}; where it asks "
            "for a token, have Ray's token file or RAY_AUTH_TOKEN on this machine too"
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
