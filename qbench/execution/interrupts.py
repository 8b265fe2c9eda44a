"""Ctrl-C, noticed even where a library swallows the exception that it raises."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from types import FrameType

__all__ = ["interrupts"]


@contextmanager
def interrupts(*, at_once: bool) -> Iterator[threading.Event]:
    """Note SIGINT and SIGTERM in an event; a second one always raises ``KeyboardInterrupt``.

    A library may drop an exception that strikes inside its import or a destructor, so whoever
    waits for the user looks at the event too.

    Args:
        at_once: Raise at the first signal as well, wherever it strikes.

    Yields:
        Is set from the first signal on; outside the main thread, never.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        before = interrupted.is_set()
        interrupted.set()
        if at_once or before:
            raise KeyboardInterrupt

    handlers = {number: signal.signal(number, interrupt) for number in (SIGINT, SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
