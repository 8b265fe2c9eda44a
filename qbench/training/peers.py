"""The other processes of a trial that trains on several devices of its machine.

Process 0 is the trial: it alone measures, evaluates and writes. The others run the same steps. They
end with it: a pipe closes when its process is gone, whatever ended it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from pydantic import TypeAdapter

from qbench.diagnostics.precision import products_in
from qbench.registry import load_plugin
from qbench.study.trial import Trial
from qbench.training.loop import Run
from qbench.training.site import Site

__all__ = ["PeerError", "peers"]

PATIENCE = timedelta(days=2)
"""How long a process waits for one that measures or evaluates; a dead one is noticed at once."""
SECONDS_TO_END = 5.0
_TASK = TypeAdapter(tuple[Trial, Site, str])


class PeerError(Exception):
    """A trial's other process ended before the trial did."""


@contextmanager
def peers(trial: Trial, site: Site) -> Iterator[None]:
    """Start a trial's other processes and meet them; nothing where it has one process."""
    if site.processes == 1:
        yield
        return
    command = [sys.executable, "-m", "qbench.training.peers"]
    with TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        started = []
        try:
            for rank in range(1, site.processes):
                task = _TASK.dump_json((trial, replace(site, rank=rank), meeting))
                peer = subprocess.Popen(command, stdin=subprocess.PIPE)
                started.append(peer)
                assert peer.stdin is not None  # it was asked for
                peer.stdin.write(task + b"\n")
                peer.stdin.flush()
            _meet(site, meeting)
            yield
        except RuntimeError as error:
            if not any(map(_ends, started)):
                raise
            raise PeerError(f"another process of the trial has ended: {error}") from error
        finally:
            for peer in started:
                peer.kill()
                peer.wait()
            if dist.is_initialized():
                dist.destroy_process_group()


def _ends(peer: subprocess.Popen[bytes]) -> bool:
    """Whether a process is gone; its sockets close before that, while its memory is given back."""
    with suppress(subprocess.TimeoutExpired):
        peer.wait(SECONDS_TO_END)
    return peer.poll() is not None


def _meet(site: Site, meeting: str) -> None:
    on_gpu = site.device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(site.rank)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=meeting,
        rank=site.rank,
        world_size=site.processes,
        timeout=PATIENCE,
    )


def _leave_with_the_trial() -> None:
    """End this process when the pipe from the trial's first process closes."""
    sys.stdin.buffer.read()
    os._exit(1)


def _follow() -> None:
    """Run the steps of a trial as one of its other processes."""
    trial, site, meeting = _TASK.validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_the_trial, daemon=True).start()
    for plugin in site.plugins:
        load_plugin(plugin)
    torch.set_num_threads(site.threads)
    _meet(site, meeting)
    with products_in("ieee"):
        run = Run(trial, site)
        while run.state.epoch < trial.training.epochs:
            run.train_epoch()


if __name__ == "__main__":
    _follow()
