"""Ray's end leaves this process alive."""

import subprocess
import sys

import pytest

GARBAGE = """
import gc
import threading

import ray
from ray._private.worker import global_worker

from qbench.execution.connection import connected
from qbench.study.schema import Resources


class Cycle:
    def __init__(self):
        self.me, self.reference = self, ray.put(1)


class Core:
    def __init__(self, core):
        self.core = core

    def __getattr__(self, name):
        return getattr(self.core, name)

    def shutdown_driver(self):
        self.core.shutdown_driver()
        if gc.isenabled():  # as another thread may at any time
            thread = threading.Thread(target=gc.collect)
            thread.start()
            thread.join()


gc.set_threshold(0)
with connected(Resources(), None):
    for _ in range(10):
        Cycle()
    global_worker.core_worker = Core(global_worker.core_worker)
print("alive", gc.isenabled())
"""


@pytest.mark.slow  # starts Ray
@pytest.mark.fault
def test_garbage_of_another_thread_does_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "alive True"
