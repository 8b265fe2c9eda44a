"""Notices that Ray is gone: its own libraries wait for it, some for ever."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray._private.worker import global_worker

from qbench.errors import UsageError
from qbench.execution.address import check_address

__all__ = ["LOST", "watched"]

LOST = (
    "Ray ended while trials were running (its head, or this machine's node, does not answer); "
    "what is finished is kept, and the same command continues"
)
_SECONDS_BETWEEN = 1.0
_MISSES = 5  # in a row: a busy machine answers late
_SECONDS_TO_END = 20.0  # for the driver to end by itself, once Ray is lost


@contextmanager
def watched() -> Iterator[threading.Event]:
    """Watch Ray from a thread, from its first answer on and until it is shut down.

    A driver that then hangs in one of Ray's calls is ended with the sentence and exit code 2.
    Files of trials are written whole or not at all, so that nothing is damaged.

    Yields:
        Is set once Ray is lost.
    """
    lost, over = threading.Event(), threading.Event()

    def watch() -> None:
        misses, answered = 0, False
        while misses < _MISSES:
            if over.wait(_SECONDS_BETWEEN):
                return
            answers = _answers()
            answered |= answers
            misses = 0 if answers or not answered else misses + 1
        lost.set()
        if not over.wait(_SECONDS_TO_END):
            print(f"error: {LOST}", file=sys.stderr, flush=True)
            os._exit(2)

    threading.Thread(target=watch, name="watch-ray", daemon=True).start()
    try:
        yield lost
    finally:
        over.set()


def _answers() -> bool:
    """Whether the cluster's head and this machine's node accept a connection."""
    node = global_worker.node
    if node is None:
        return False
    try:
        check_address(node.gcs_address)
        if not node.raylet_socket_name.startswith("tcp://"):  # as on Windows
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_SECONDS_BETWEEN)
                connection.connect(node.raylet_socket_name)
    except (OSError, UsageError, AttributeError, AssertionError):  # while it is taken down
        return False
    return True
