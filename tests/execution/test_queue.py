"""The order in which jobs are handed out, and what is kept of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stub_jobs import Diary
from trial_stubs import finish

from qbench.execution.jobs import Job, Queue, run_job
from qbench.store import Failure, TrialFolder
from qbench.training.site import Site

MakeJob = Callable[..., Job]


def folder(job: Job) -> TrialFolder:
    return TrialFolder(job.site.results, job.trial.name)


def test_a_job_travels_as_text(job: MakeJob) -> None:
    first = job(1, epochs=3)
    site = Site(Path("/r"), Path("/i"), "cuda", 4, 2.5, ("a.py",), Path("/w"))
    sent = Job(job(2, start=first).trial, site)
    received = Job.from_json(sent.to_json())
    assert received == sent
    assert received.trial.id == sent.trial.id


def test_a_job_waits_for_the_one_that_it_needs(job: MakeJob, diary: Diary) -> None:
    needed = job(0)
    dependent, other = job(1, start=needed), job(2)
    queue = Queue([needed, dependent, other, needed], diary)
    assert queue.take() == needed
    assert queue.take() == other
    assert queue.take() is None
    finish(needed.trial, needed.site)
    assert queue.take() is None, "the files are there, but it has not ended"
    queue.ended(needed.trial.name)
    assert queue.take() == dependent
    assert len(queue) == 0


def test_what_needs_a_failed_trial_fails_naming_it(job: MakeJob, diary: Diary) -> None:
    needed = job(0)
    queue = Queue([needed, job(1, start=needed)], diary)
    queue.take()
    queue.ended(needed.trial.name, Failure("error", "a defect"))
    assert queue.take() is None
    failure = folder(job(1, start=needed)).failure()
    assert failure is not None
    assert failure.reason == "start failed"
    assert needed.trial.name in failure.message
    assert set(queue.outcome().failed) == set(diary.statuses)


def test_what_needs_a_trial_of_another_run_is_left_alone(job: MakeJob, diary: Diary) -> None:
    dependent = job(1, start=job(0))
    queue = Queue([dependent], diary)
    assert queue.take() is None
    assert queue.outcome().waiting == (dependent.trial.name,)
    assert folder(dependent).status() == "missing"
    finish(job(0).trial, job(0).site)
    assert Queue([dependent], diary).take() == dependent


def test_a_job_given_back_comes_again(job: MakeJob, diary: Diary) -> None:
    needed = job(0)
    queue = Queue([needed, job(1, start=needed)], diary)
    queue.take()
    queue.give_back(needed.trial.name)
    assert queue.take() == needed


def test_an_end_without_a_result_is_a_failure(job: MakeJob, diary: Diary) -> None:
    queue = Queue([job(0)], diary)
    queue.take()
    queue.ended(job(0).trial.name)
    assert diary.statuses == {job(0).trial.name: "failed"}
    failure = folder(job(0)).failure()
    assert failure is not None
    assert "without a result" in failure.message


def test_a_reason_replaces_that_of_an_earlier_run(job: MakeJob, diary: Diary) -> None:
    folder(job(0)).fail(Failure("diverged", "earlier"))
    queue = Queue([job(0)], diary)
    queue.take()
    queue.ended(job(0).trial.name, Failure("error", "its worker died"))
    assert folder(job(0)).failure() == Failure("error", "its worker died")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("trial_stubs:train", "ValueError: a defect"),
        ("trial_stubs:nothing", "AttributeError"),
        ("no_such_module:train", "ModuleNotFoundError"),
    ],
)
def test_what_is_raised_is_recorded(job: MakeJob, run: str, message: str) -> None:
    list(run_job(job(0, act="raise"), run))
    failure = folder(job(0, act="raise")).failure()
    assert failure is not None
    assert failure.message.startswith(message)
    assert "Traceback" in failure.details
