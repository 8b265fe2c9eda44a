"""The services of docker/compose.yaml as plain processes: PostgreSQL, MLflow, a head of Ray."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from ray_nodes import Nodes, cluster, free_port, kill
from ruamel.yaml import YAML

psycopg = pytest.importorskip("psycopg", reason="needs the extra 'server'")
BINARIES = shutil.which("postgres") or max(
    map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), default=""
)
USER = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # four commands with their imports, and a database that is made
    pytest.mark.skipif(not BINARIES, reason="needs PostgreSQL's server"),
    pytest.mark.skipif(sys.platform != "linux", reason="ends processes by /proc"),
]
COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yaml"
PASSWORD = "correct-horse-battery"  # of the database
SECRET = "staple-of-the-proxy"  # of a proxy before the server, which MLflow itself does not ask for
STUDY = """
study: services
question: Do the services work together?
quantizers: [ste, dorefa]
models: [{name: mlp, options: {width: 8}}]
data:
  sets: [{name: synthetic, options: {classes: 4, channels: 1, train: 64, test: 32}}]
bits: [W4A32]
seeds: [0, 1]
training: {epochs: 2, batch: 16, reestimation_batches: 2}
"""
TRIALS = 4


def postgres(stack: ExitStack) -> int:
    """A server on loopback with an empty database; its port."""
    folder, port = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")), free_port()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    (folder / "password").write_text(PASSWORD)
    if USER is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, USER)
    programs = Path(BINARIES).resolve().parent
    subprocess.run(
        [programs / "initdb", "--pgdata", folder / "data", "--username=mlflow", "--no-sync",
         f"--pwfile={folder / 'password'}", "--auth=scram-sha-256"],
        user=USER, cwd=folder, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    server = subprocess.Popen(
        [programs / "postgres", "-D", folder / "data", "-p", str(port),
         "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"],
        user=USER, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(server.wait)
    stack.callback(server.send_signal, signal.SIGQUIT)
    connection = connect(port, "postgres")
    connection.autocommit = True
    connection.execute("create database mlflow")
    connection.close()
    return port


def connect(port: int, database: str = "mlflow") -> "psycopg.Connection[tuple[object, ...]]":
    until = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(
                host="127.0.0.1", port=port, user="mlflow", password=PASSWORD, dbname=database
            )
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def mlflow_server(stack: ExitStack, folder: Path, database: int) -> int:
    """MLflow's server with the arguments of the compose file; its port."""
    service = YAML(typ="safe").load(COMPOSE)["services"]["mlflow"]
    program, *words = [*service["entrypoint"], *service["command"]]
    port = free_port()
    here = {"--host": "127.0.0.1", "--port": port, "--artifacts-destination": folder / "artifacts"}
    named = [word.partition("=")[0] for word in words]
    words = [f"{name}={here[name]}" if name in here else word
             for name, word in zip(named, words, strict=True)]  # fmt: skip
    uri = service["environment"]["MLFLOW_BACKEND_STORE_URI"]
    uri = uri.replace("${POSTGRES_PASSWORD:?}", PASSWORD)
    uri = uri.replace("postgres:5432", f"127.0.0.1:{database}")
    assert PASSWORD in uri
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [Path(sys.executable).with_name(program), *words], cwd=folder, stdout=log, stderr=log,
            env=os.environ | {"MLFLOW_BACKEND_STORE_URI": uri},
        )  # fmt: skip
    stack.callback(kill, server)
    until = time.monotonic() + 200
    while time.monotonic() < until:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health"):
                return port
        except OSError:
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.5)
    raise TimeoutError((folder / "server.log").read_text())


class Services:
    """What runs, and what the study's commands said."""

    def __init__(self, folder: Path, nodes: Nodes, database: int, server: int) -> None:
        self.folder, self.nodes, self.database, self.server = folder, nodes, database, server
        self.said = ""
        (folder / "services.yaml").write_text(STUDY)

    def study(self, *arguments: str, module: str = "run") -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"qbench.{module}", "services.yaml", *arguments],
            cwd=self.folder, env=self.nodes.environment, capture_output=True, text=True,
        )  # fmt: skip
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tables(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that MLflow wrote into the database."""
        connection = connect(self.database)
        cursor = connection.cursor()
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        found = {}
        for (name,) in cursor.fetchall():
            cursor.execute(f'select * from "{name}"')
            found[name] = cursor.fetchall()
        connection.close()
        return found

    def runs(self, study: str) -> tuple[int, int]:
        """How many runs, and points of metrics, a study has."""
        connection = connect(self.database)
        cursor = connection.cursor()
        cursor.execute(
            "select count(distinct r.run_uuid), count(m.key) from experiments e join runs r using "
            "(experiment_id) left join metrics m using (run_uuid) where e.name = %s", (study,),
        )  # fmt: skip
        (found,) = cursor.fetchall()
        connection.close()
        return found


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("services")
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster(folder))
        nodes.start()
        database = postgres(stack)
        server = mlflow_server(stack, folder, database)
        yield Services(folder, nodes, database, server)


def test_a_study_uses_all_services(services: Services) -> None:
    uri = f"tracking.uri=http://qbench:{SECRET}@127.0.0.1:{services.server}"
    output = services.study("--address", services.nodes.address, uri)
    assert "4 to run, 0 done" in output
    runs, points = services.runs("services")
    assert runs == TRIALS + 1
    assert points > 0
    ran_on = [
        json.loads(file.read_text())["node"]
        for file in services.folder.glob("results/*/environment.json")
    ]
    assert len(ran_on) == TRIALS
    assert all(ran_on), "not on Ray"
    assert len(list((services.folder / "artifacts").rglob("trial.json"))) == TRIALS
    output = services.study("--address", services.nodes.address, uri)
    assert "0 to run, 4 done" in output
    services.study(uri, module="track")
    assert services.runs("services") == (runs, points)


def test_a_study_writes_to_the_database_itself(services: Services) -> None:
    uri = f"tracking.uri=postgresql://mlflow:{PASSWORD}@127.0.0.1:{services.database}/mlflow"
    services.study("--local", "study=direct", uri)
    assert services.runs("direct")[0] == TRIALS + 1


def test_no_password_is_written_anywhere(services: Services) -> None:
    secrets = (PASSWORD, SECRET)
    assert "***" in services.said
    assert not any(secret in services.said for secret in secrets)
    for name, rows in services.tables().items():
        assert not any(secret in repr(rows) for secret in secrets), f"table {name}"
    assert services.nodes.folder is not None
    files = [*services.folder.rglob("*"), *services.nodes.folder.rglob("*")]
    looked = [file for file in files if file.is_file()]
    assert any("worker" in file.name for file in looked), "Ray's logs are among them"
    found = [file for file in looked if any(one.encode() in file.read_bytes() for one in secrets)]
    assert found == []
