"""A real MLflow server that dies, is slow or answers 500: nothing is lost, nothing doubled."""

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_study import STUDY, run, same_files, trials
from mlflow_server import Proxy, Server

pytestmark = [
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the server alone takes half a minute to start on a busy machine
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    found.start()
    yield found
    found.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server) as found:
        yield found
        found.shutdown()


def tracked_study(folder: Path, name: str, uri: str) -> None:
    """The study under a name of its own, so that the server has an experiment of it."""
    text = STUDY.replace("study: small", f"study: {name}")
    text = text.replace("{enabled: false}", f"{{enabled: true, uri: '{uri}'}}")
    (folder / "small.yaml").write_text(text)


def content(server: Server, name: str) -> tuple[Counter[str], dict[str, tuple[float, ...]]]:
    """The statuses of an experiment's runs, and each run's metric points, none of them twice."""
    with sqlite3.connect(server.folder / "mlflow.db") as store:
        (experiment,) = store.execute(
            "select experiment_id from experiments where name = ?", (name,)
        ).fetchone()
        runs = store.execute(
            "select run_uuid, name, status from runs "
            "where experiment_id = ? and lifecycle_stage = 'active'", (experiment,)
        ).fetchall()  # fmt: skip
        points: dict[str, tuple[float, ...]] = {}
        for run_id, run_name, _ in runs:
            rows = store.execute(
                "select key, step, value from metrics where run_uuid = ? "
                "and key not like 'trials/%'", (run_id,)  # each run of a study counts its trials
            ).fetchall()  # fmt: skip
            assert max(Counter((key, step) for key, step, _ in rows).values(), default=1) == 1
            points[run_name] = tuple(sorted(hash((key, step)) for key, step, _ in rows))
    assert len({run_name for _, run_name, _ in runs}) == len(runs), "a run is doubled"
    return Counter(status for *_, status in runs), points


def expected(server: Server, tmp_path: Path) -> dict[str, tuple[float, ...]]:
    """What a store holds that nothing happened to."""
    folder = tmp_path / "whole"
    folder.mkdir()
    tracked_study(folder, f"whole-{tmp_path.name}", server.uri)
    done = run(folder)
    assert done.exit_code == 0, done.output
    statuses, points = content(server, f"whole-{tmp_path.name}")
    assert statuses == {"FINISHED": 4}
    return {name: keys for name, keys in points.items() if "whole" not in name}


def check_whole(server: Server, name: str, points: dict[str, tuple[float, ...]]) -> None:
    statuses, found = content(server, name)
    assert statuses == {"FINISHED": 4}  # the study, and three trials
    assert {one: keys for one, keys in found.items() if name not in one} == points


def at_first_trial(folder: Path, act: object) -> threading.Thread:
    """A thread that acts once a trial is done."""

    def wait() -> None:
        while not trials(folder):
            time.sleep(0.005)
        act()  # type: ignore[operator]

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_server_that_dies_in_the_middle_and_stays_away(
    server: Server, tmp_path: Path, left_alone: Path
) -> None:
    points = expected(server, tmp_path)
    tracked_study(tmp_path, "dies", server.uri)
    killer = at_first_trial(tmp_path, server.kill)
    done = run(tmp_path)
    killer.join()
    assert done.exit_code == 0, done.output
    assert "MLflow lacks" in done.output
    digests = same_files(tmp_path)
    assert digests == same_files(left_alone)
    still = run(tmp_path)  # down at its start
    assert still.exit_code == 0, still.output
    assert "0 to run, 3 done" in still.output
    assert "MLflow lacks 4 runs; the same command tries again" in still.output
    lacking = run(tmp_path, command="track")
    assert lacking.exit_code == 2, lacking.output
    assert server.uri in lacking.output
    server.start()
    tracked = run(tmp_path, command="track")
    assert tracked.exit_code == 0, tracked.output
    check_whole(server, "dies", points)
    for command in ("track", "run"):
        assert run(tmp_path, command=command).exit_code == 0
    check_whole(server, "dies", points)
    assert same_files(tmp_path) == digests


def test_a_server_that_is_away_when_a_known_study_goes_on(server: Server, tmp_path: Path) -> None:
    points = expected(server, tmp_path)
    tracked_study(tmp_path, "known", server.uri)
    assert run(tmp_path, "quantizers=[float]").exit_code == 0
    server.kill()
    away = run(tmp_path)
    assert away.exit_code == 0, away.output
    assert "2 to run, 1 done" in away.output
    assert "MLflow lacks" in away.output
    server.start()
    again = run(tmp_path)  # by itself
    assert again.exit_code == 0
    assert "MLflow lacks" not in again.output
    check_whole(server, "known", points)


def test_a_server_that_answers_500_in_the_middle(
    server: Server, proxy: Proxy, tmp_path: Path, left_alone: Path
) -> None:
    points = expected(server, tmp_path)
    tracked_study(tmp_path, "broken", proxy.uri)
    breaker = at_first_trial(tmp_path, lambda: setattr(proxy, "broken", True))
    done = run(tmp_path)
    breaker.join()
    assert done.exit_code == 0, done.output
    assert "MLflow lacks" in done.output
    assert same_files(tmp_path) == same_files(left_alone)
    proxy.broken = False
    again = run(tmp_path)
    assert again.exit_code == 0
    assert "MLflow lacks" not in again.output
    check_whole(server, "broken", points)


def test_a_server_that_answers_500_to_a_study_that_is_new_is_one_sentence(
    proxy: Proxy, tmp_path: Path
) -> None:
    proxy.broken = True
    tracked_study(tmp_path, "new", proxy.uri)
    refused = run(tmp_path)
    assert refused.exit_code == 2, refused.output
    (sentence,) = [line for line in refused.output.splitlines() if line.startswith("error: ")]
    assert proxy.uri in sentence
    assert "tracking.enabled=false" in sentence
    assert not trials(tmp_path)
    shutil.rmtree(tmp_path / "results")


def test_a_slow_server_holds_up_no_trial(server: Server, proxy: Proxy, tmp_path: Path) -> None:
    points = expected(server, tmp_path)
    tracked_study(tmp_path, "slow", proxy.uri)
    proxy.seconds = 2.0
    calls_at_end: list[int] = []

    def watch() -> None:
        while len(trials(tmp_path)) < 3:
            time.sleep(0.005)
        calls_at_end.append(proxy.calls)
        proxy.seconds = 0.0  # what is left would take minutes

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    done = run(tmp_path)
    watcher.join()
    assert done.exit_code == 0, done.output
    assert "MLflow lacks" not in done.output
    assert calls_at_end[0] < proxy.calls / 2, "trials do not wait for calls"
    check_whole(server, "slow", points)
