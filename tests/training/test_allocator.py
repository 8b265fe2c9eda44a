"""Memory that a step frees is there for the next one: counted by the system's page faults."""

import platform
import resource
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from qbench.training.allocator import giving_freed_memory_back, keep_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

BYTES, BLOCKS = 2**23, 20
HUGE = 2**21  # no page is larger: so many bytes cost one fault at least

HELD = """
import resource
from pathlib import Path
from qbench.training.allocator import keep_freed_memory

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

keep_freed_memory()
blocks = [b"1" * 2**26 for _ in range(8)]
print(held())
del blocks
print(held())
keep_freed_memory()
print(held())
"""


def step(floats: int) -> None:
    """Write large tensors, some of them at once."""
    for _ in range(BLOCKS // 4):
        blocks = [torch.ones(floats) for _ in range(4)]
        del blocks


def faults(floats: int = BYTES // 4) -> int:
    """Page faults of a step after others: of four, the fewest, since in a process that ran other
    tests something small may come to lie where a block was, which then needs another place."""
    counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(5):
        step(floats)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return min(after - before for before, after in pairwise(counts[1:]))


def test_a_step_after_others_asks_the_system_for_nothing() -> None:
    keep_freed_memory()
    assert faults() < BLOCKS * BYTES // HUGE // 2


def test_by_itself_glibc_gives_large_blocks_back() -> None:
    """Or the test above would show nothing, and paper-style trials would have it too."""
    with giving_freed_memory_back():
        assert faults(floats=2**24) > BLOCKS * 2**26 // HUGE // 2  # beyond its threshold
    assert faults() < BLOCKS * BYTES // HUGE // 2  # kept again after it


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_the_next_trial_starts_without_what_the_last_one_kept() -> None:
    """In a process of its own: where nothing else has cut the memory into pieces."""
    most, kept, rest = (
        int(line) for line in subprocess.check_output([sys.executable, "-c", HELD]).split()
    )
    assert kept > most - 2**26
    assert rest < most - 4 * 2**26
