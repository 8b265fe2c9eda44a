"""A quantizer that takes all memory, makes the loss no number, raises, exits or hangs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fault_study import run, trials, write_study

pytestmark = pytest.mark.fault

PLUGIN = '''
import os, resource, sys, time
import numpy as np
import torch
from qbench.quantizers.ste import STE
from qbench.registry import quantizers


@quantizers.register("fault")
class Fault(STE):
    """Goes wrong in the way that its option names."""

    bits = {"weight": (1, 2, 3, 4, 5, 6, 7, 8), "activation": (1, 2, 3, 4, 5, 6, 7, 8)}

    def __init__(self, *, bit_width: int, target: str, way: str = "") -> None:
        super().__init__(bit_width=bit_width, target=target)
        self.way = way

    def forward(self, x):
        if self.way == "huge":
            torch.empty(2**46)
        if self.way == "limit":
            before = resource.getrlimit(resource.RLIMIT_AS)
            held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + 2**26, before[1]))
            try:
                np.ones(2**28)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        if self.way == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if self.way == "nan":
            return super().forward(x) * float("nan")
        if self.way == "raise":
            raise RuntimeError("a defect\\nin two lines")
        if self.way == "exit":
            sys.exit("enough")
        if self.way == "die":
            os._exit(7)
        while self.way == "hang":
            time.sleep(1)
        return super().forward(x)
'''
REASONS = {
    "huge": ("out of memory", "can't allocate memory"),
    "limit": ("out of memory", "Unable to allocate"),
    "cuda": ("out of memory", "Tried to allocate 2.00 GiB"),
    "nan": ("diverged", "the training loss is nan in epoch 1"),
    "raise": ("error", "RuntimeError: a defect"),
    "exit": ("error", "SystemExit: enough"),
}


def broken_study(folder: Path, ways: list[str], **changes: str) -> None:
    (folder / "fault.py").write_text(PLUGIN)
    rows = ", ".join(f"{{name: fault, label: {way}, options: {{way: {way}}}}}" for way in ways)
    write_study(folder, **{"[float, ste, lsq]": f"[float, {rows}, ste]", **changes})
    with (folder / "small.yaml").open("a") as file:
        file.write("plugins: [fault.py]\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_one_trial_goes_wrong_and_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    broken_study(tmp_path, list(REASONS))
    done = run(tmp_path, "--json")
    assert done.exit_code == 3, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["done"] == 2, "the float row and ste"
    assert len(told["failed"]) == len(REASONS)
    for reason, words in REASONS.values():
        (line,) = [line for line in told["failed"].values() if words in line]
        assert line.startswith(f"{reason}: ")
        assert "\n" not in line
        assert ("training.batch" in line) == (reason == "out of memory")
    again = run(tmp_path)
    assert "0 to run, 2 done, 6 failed before (--retry-failed runs them again)" in again.output


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_exits_or_hangs_takes_no_other_trial_along(tmp_path: Path) -> None:
    """Through Ray: with ``--local`` there is no other process to go on."""
    broken_study(tmp_path, ["die", "hang"])
    command = [sys.executable, "-m", "qbench.run", "small.yaml", "--json",
               "resources.timeout_minutes=0.8"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["done"] == 2
    reasons = sorted(told["failed"].values())
    assert reasons[0].startswith("error: its worker died 2 times")
    assert reasons[1].startswith("timeout: it ran for more than resources.timeout_minutes=0.8")
    assert len(trials(tmp_path)) == 2
