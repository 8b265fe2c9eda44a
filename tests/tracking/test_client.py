import multiprocessing
import sqlite3

import pytest

from qbench.errors import UsageError
from qbench.tracking.client import Store

PROCESSES = 8  # as many as crashed in 21 of 24 cases without a lock


def _open(uri, results, barrier, answers):
    barrier.wait()
    try:
        store = Store(uri, results)
        experiment = store.experiment("tiny", results / "artifacts")
        found = store.find_or_create(experiment, "qbench.trial", "one", "one", {}, 0)
        answers.put((experiment, found.run_id))
    except BaseException as error:
        answers.put(repr(error))


@pytest.mark.fault
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork"
)
@pytest.mark.usefixtures("migrated")  # what MLflow sets up once a process is set up before the fork
def test_processes_open_a_fresh_database_at_once(tmp_path):
    context = multiprocessing.get_context("fork")  # mlflow is imported once, for all of them
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    workers = [
        context.Process(target=_open, args=(uri, tmp_path, barrier, answers))
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    told = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert len(set(told)) == 1, told  # the same experiment and the same run
    assert isinstance(told[0], tuple), told


@pytest.mark.fault
def test_file_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, but text that is long enough to be read")
    with pytest.raises(UsageError, match="file is not a database"):
        Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


def test_database_of_another_mlflow_is_one_sentence(tmp_path, migrated):
    file = tmp_path / "mlflow.db"
    file.write_bytes(migrated.read_bytes())
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ff01da956556'")
    with pytest.raises(UsageError, match="mlflow.db cannot be used: .*schema"):
        Store(f"sqlite:///{file}", tmp_path)


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UsageError, match="cannot be used"):
        Store(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}", tmp_path / "results")


def test_missing_driver_is_one_sentence_without_the_password(tmp_path):
    with pytest.raises(UsageError) as told:
        Store("mssql://user:hunter2@127.0.0.1/db", tmp_path)
    assert "cannot be used" in str(told.value)
    assert "hunter2" not in str(told.value)
