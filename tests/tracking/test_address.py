import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qbench.errors import UsageError
from qbench.tracking.address import (
    check_reachable,
    default_uri,
    mask,
    mask_all,
    sqlite_file,
    ui_address,
    ui_command,
)

CLOSED = "http://127.0.0.1:9"  # the discard port, which nothing serves


def test_default_is_one_absolute_file_beside_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = default_uri(Path("results"))
    assert sqlite_file(uri) == tmp_path / "results" / "mlflow.db"
    check_reachable(uri)


def test_server_that_is_not_there_is_one_sentence_at_once():
    start = time.monotonic()
    with pytest.raises(UsageError) as told:
        check_reachable("http://user:hunter2@127.0.0.1:9")
    assert time.monotonic() - start < 2  # seconds; a refused connection needs milliseconds
    assert "http://user:***@127.0.0.1:9" in str(told.value)
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


def test_refused_server_is_told_before_mlflow_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from qbench.errors import UsageError\n"
        "from qbench.study.plan import Plan\n"
        "from qbench.tracking.tracker import Tracker\n"
        "try:\n"
        f"    Tracker.open(None, {CLOSED!r}, Path({str(tmp_path)!r}), Path('x'), {{}})\n"
        "except UsageError as error:\n"
        "    print('mlflow' in sys.modules, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("False nothing answers at the tracking URI")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("htp://server", "there is no tracking store 'htp'; did you mean 'http'"),
        ("./mlruns", "there is no tracking store"),
        ("file:///tmp/mlruns", "there is no tracking store 'file'"),
        ("sqlite:///mlflow.db", "is not absolute"),
        ("sqlite://", "names no file"),
        ("http://", "names no host"),
        ("http://server:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("postgresql://u:hunter2@no.such.host.invalid/db", "nothing answers"),
        ("https://u:hunter2@server:99999", "cannot be read"),
    ],
)
def test_bad_address_is_refused(uri, sentence):
    with pytest.raises(UsageError, match=sentence) as told:
        check_reachable(uri)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://server:5000/path", "http://server:5000/path"),
        ("http://user@server", "http://user@server"),
        ("https://user:pa@ss@server:5000", "https://user:***@server:5000"),
        ("postgresql+psycopg2://u:p@h/db?sslmode=x", "postgresql+psycopg2://u:***@h/db?sslmode=x"),
        ("mysql://h/db?user=u&password=p", "mysql://h/db?user=u&password=***"),
        ("sqlite:////data/a b/mlflow.db", "sqlite:////data/a b/mlflow.db"),
    ],
)
def test_secrets_are_masked(uri, shown):
    assert mask(uri) == shown


@pytest.mark.parametrize(
    "text",
    [
        "python -m qbench.run s.yaml tracking.uri=postgresql://u:hunter2@h/db --local",
        shlex.join(["qbench", "run", "tracking.uri=postgresql://u:it's-hunter2@h/db"]),
        "tracking: {uri: 'https://u:hunter2@h:5000', enabled: true}",
        'tracking:\n  uri: "mysql://h/db?password=hunter2"\n',
    ],
)
def test_secrets_are_masked_within_text(text):
    shown = mask_all(text)
    assert "hunter2" not in shown
    assert "***" in shown
    assert shown.split("://")[0] == text.split("://")[0]


def test_text_without_secrets_stays_as_it_is():
    text = "study: a\n# see https://example.org/a?b=c and user@host, a: b\n"
    assert mask_all(text) == text


def test_ui_command_quotes_the_path():
    command = shlex.split(ui_command("sqlite:////data/my results/mlflow.db"))
    assert command[-2:] == ["--backend-store-uri", "sqlite:////data/my results/mlflow.db"]
    assert command[-5:-2] == ["ui", "--workers", "1"]
    assert Path(command[0]).name == "mlflow" or command[1:3] == ["-m", "mlflow"]


def test_server_is_browsed_at_its_address():
    assert ui_command("http://u:p@server:5000") == "http://u:***@server:5000"
    assert ui_address("http://server:5000/") == "http://server:5000"
    assert ui_address("sqlite:////data/mlflow.db") == "http://127.0.0.1:5000"
