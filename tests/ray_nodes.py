"""Ray nodes as an operator starts them: `ray start` in processes of their own, on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and all that it started, the parents first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(one for child in children for one in tree(int(child)))]


class Nodes:
    """A cluster that grows by a node of one core a call."""

    folder: Path | None = None
    """Of the node that was started last: Ray's sockets and logs."""

    def __init__(self, stack: ExitStack, home: Path) -> None:
        self._stack, self.address = stack, f"127.0.0.1:{free_port()}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = kept | {"HOME": str(home)}
        generate = [RAY, "get-auth-token", "--generate"]
        subprocess.run(generate, env=self.environment, check=True, capture_output=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the head, then other nodes; returns the process over all others of the node."""
        port = self.address.rpartition(":")[2]
        place = [f"--address={self.address}"]
        if self.folder is None:
            place = ["--head", f"--port={port}", "--include-dashboard=false"]
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets' paths are short
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        log = self.folder / "start.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [RAY, "start", "--block", "--num-cpus=1", f"--temp-dir={self.folder}",
                 "--object-store-memory=80000000", "--disable-usage-stats", *place],
                env=self.environment | {"RAY_AUTH_MODE": "token"}, stdout=file, stderr=file,
            )  # fmt: skip
        self._stack.callback(kill, process)
        until = time.monotonic() + 120  # a busy machine takes its time
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process and all below it."""
    for pid in tree(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


@contextmanager
def cluster(home: Path) -> Iterator[Nodes]:
    """A cluster that asks for a token, which lies in ``home``; ended by SIGKILL."""
    with ExitStack() as stack:
        yield Nodes(stack, home)
