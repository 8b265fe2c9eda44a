"""Trials in this process."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stub_jobs import Diary

from qbench.execution.execute import execute
from qbench.execution.jobs import Job
from qbench.store import TrialFolder
from qbench.study.schema import Resources

MakeJob = Callable[..., Job]


def test_each_job_ends_before_the_next_and_failures_do_not_stop_the_rest(
    job: MakeJob, diary: Diary
) -> None:
    bad, exits = job(0, act="raise"), job(1, act="exit")
    jobs = [bad, exits, job(2), job(3, start=bad)]
    outcome = execute(jobs, Resources(), diary, local=True, run="trial_stubs:train")
    names = [job.trial.name for job in jobs]
    assert outcome.done == (names[2],)
    assert set(outcome.failed) == {names[0], names[1], names[3]}
    assert diary.events[:4] == [
        ("started", names[0]), ("ended", names[0]), ("started", names[1]), ("ended", names[1]),
    ]  # fmt: skip
    assert [name for name, _ in diary.epochs if name == names[2]] == [names[2]] * 2


def test_an_interrupt_closes_the_trial_and_a_second_run_continues_it(
    job: MakeJob, diary: Diary, tmp_path: Path
) -> None:
    class Impatient(Diary):
        def epoch(self, name: str, values: dict[str, float | int]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute([job(0)], Resources(), Impatient(), local=True, run="trial_stubs:train")
    assert (tmp_path / "closed").read_text() == job(0).trial.name
    assert TrialFolder(tmp_path, job(0).trial.name).status() == "partial"
    outcome = execute([job(0)], Resources(), diary, local=True, run="trial_stubs:train")
    assert outcome.done == (job(0).trial.name,)
    assert [values["epoch"] for _, values in diary.epochs] == [1], "epoch 0 is not trained again"


def test_an_interrupt_that_a_library_swallows_still_stops(job: MakeJob) -> None:
    class Deaf(Diary):
        def epoch(self, name: str, values: dict[str, float | int]) -> None:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(
        signal.SIGINT
    )  # ignored, where a script started this in the background
    with pytest.raises(KeyboardInterrupt):
        execute([job(0)], Resources(), Deaf(), local=True, run="trial_stubs:train")
    assert signal.getsignal(signal.SIGINT) is before


def test_ray_is_not_imported() -> None:
    code = (
        "import sys; from qbench.execution.execute import execute; "
        "from qbench.study.schema import Resources; "
        "execute([], Resources(), None, local=False); "
        "sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
