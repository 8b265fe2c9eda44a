"""Whether a Ray cluster answers at an address, asked without Ray, which waits for minutes."""

import socket

from qbench.errors import UsageError

__all__ = ["check_address"]

_SECONDS_TO_ANSWER = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty frame; a gRPC server sends one too
_KIND = slice(3, 4)  # of a frame


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers as the head of a cluster does, in HTTP/2.

    Args:
        address: ``host:port``, or ``auto``, which only Ray can resolve and which passes.

    Raises:
        UsageError: It is malformed, or no Ray answers within seconds.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UsageError(
            f"the Ray address is '{address}'; allowed: 'auto', or host:port of a cluster's head, "
            "from a machine of the cluster"
        )
    try:
        end = (host.strip("[]"), int(port))
        with socket.create_connection(end, _SECONDS_TO_ANSWER) as connection:
            connection.sendall(_PREFACE + _SETTINGS)
            if connection.recv(9)[_KIND] != _SETTINGS[_KIND]:
                raise ConnectionError("what answers there is no Ray head")
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at '{address}' ({error}); is it running, and is this the "
            "port of its head (6379 by default)?"
        ) from None
