"""What cannot run is refused before anything starts, in a sentence."""

import http.server
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from stub_jobs import Diary

from qbench.errors import UsageError
from qbench.execution import resources as machine
from qbench.execution.execute import execute
from qbench.execution.jobs import Job
from qbench.execution.resources import check_gpus, count_cpus, count_gpus
from qbench.study.schema import Resources

MakeJob = Callable[..., Job]


def refused(job: Job, resources: Resources, address: str | None = None, local: bool = False) -> str:
    diary = Diary()
    start = time.monotonic()
    with pytest.raises(UsageError) as error:
        execute([job], resources, diary, local=local, address=address, run="trial_stubs:train")
    assert time.monotonic() - start < 5, "Ray's own wait is longer than 20 s"
    assert not diary.events
    return str(error.value)


@pytest.mark.parametrize("local", [True, False])
def test_more_cores_than_there_are(job: MakeJob, local: bool) -> None:
    text = refused(job(0), Resources(cpus=count_cpus() + 1), local=local)
    assert f"resources.cpus is {count_cpus() + 1}" in text


def test_a_gpu_where_there_is_none(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_gpus", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    text = refused(job(0), Resources(gpus=0.5))
    assert "resources.gpus is 0.5" in text
    assert "CUDA_VISIBLE_DEVICES is '7'" in text


def test_gpus_are_counted_without_torch() -> None:
    assert count_gpus() >= 0
    check_gpus(Resources(gpus=0))


def test_gpus_that_are_no_share(job: MakeJob) -> None:
    assert "fraction up to 1" in refused(job(0), Resources(gpus=1.5))


def test_the_quota_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    quota = machine.Path(tmp_path) / "cpu.max"
    quota.write_text("100000 100000\n")  # one core's worth of time
    monkeypatch.setattr(machine, "_QUOTA", quota)
    assert count_cpus() == 1


@pytest.mark.parametrize("address", ["nonsense", "ray://head:10001", "head:", ":6379"])
def test_an_address_that_is_none(job: MakeJob, address: str) -> None:
    text = refused(job(0), Resources(), address)
    assert f"'{address}'" in text
    assert "host:port" in text


def test_an_address_at_which_nothing_listens(job: MakeJob) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert address in refused(job(0), Resources(), address)


def test_an_address_at_which_something_else_listens(job: MakeJob) -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        assert "no Ray head" in refused(job(0), Resources(), address)


def test_the_address_of_the_environment_is_used(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UsageError, match="nonsense"):
        execute([job(0)], Resources(), Diary(), local=False)
