from collections.abc import Callable
from pathlib import Path

import pytest
from stub_jobs import Diary, stub_job

from qbench.execution.jobs import Job


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(seed: int, start: Job | None = None, **options: object) -> Job:
        return stub_job(tmp_path, seed, start, **options)

    return make
