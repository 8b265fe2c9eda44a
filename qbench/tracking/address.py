"""Where the tracking store is, whether it answers, and how to browse it; imports no mlflow."""

import re
import shlex
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from qbench.errors import UsageError, unknown
from qbench.storage import remote

__all__ = [
    "check_reachable", "default_uri", "mask", "mask_all", "own_folder", "sqlite_file",
    "ui_address", "ui_command",
]  # fmt: skip

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SCHEMES = (*PORTS, "sqlite", "databricks")
SECRETS = {"password", "passwd", "pwd", "token", "secret", "key"}
PROBE_SECONDS = 1.5  # a server that is there accepts a connection long before


def default_uri(results: Path) -> str:
    """The SQLite file beside the results.

    Raises:
        UsageError: They are in an object store, where there can be none.
    """
    if remote(results) is not None:
        raise UsageError(
            f"the results are in '{results}', where MLflow's SQLite file cannot lie; set "
            f"tracking.uri to a server's address or to sqlite:///{Path('mlflow.db').resolve()}, or "
            "set tracking.enabled=false"
        )
    return f"sqlite:///{Path(results).resolve() / 'mlflow.db'}"


def own_folder(uri: str, results: Path) -> Path:
    """Where MLflow's own files go: to the results, or where these are remote beside the database.

    Without a database's file the folder is ``results`` here.
    """
    if remote(results) is None:
        return Path(results).resolve()
    file = sqlite_file(uri)
    return file.parent if file is not None else Path("results").resolve()


def sqlite_file(uri: str) -> Path | None:
    """The file of a ``sqlite:///…`` URI; None for any other."""
    if _dialect(uri) != "sqlite":
        return None
    return Path(uri.split("?")[0].partition(":///")[2])


def mask(uri: str) -> str:
    """The URI with its secrets replaced by ``***``."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return f"{uri.split(':')[0]}:***"  # unreadable: it may be a password that makes it so
    location = parts.netloc
    if "@" in location:
        user, _, host = location.rpartition("@")
        location = f"{user.split(':')[0]}:***@{host}" if ":" in user else location
    query = urlencode(
        [
            (name, "***" if name.lower() in SECRETS else value)
            for name, value in parse_qsl(parts.query)
        ],
        safe="*/",
    )
    shown = urlunsplit(SplitResult(parts.scheme, location, parts.path, query, parts.fragment))
    return uri if uri.startswith("sqlite:") else shown


def mask_all(text: str) -> str:
    """The text with the secrets of every address in it replaced by ``***``."""
    return re.sub(r"[\w+.-]+://\S+", lambda found: mask(found[0]), text)


def check_reachable(uri: str) -> None:
    """Refuse an address that cannot be a tracking store, or behind which nobody answers.

    Raises:
        UsageError: The scheme is none of MLflow's, the address is relative, or no connection is
            accepted within a moment.
    """
    dialect = _dialect(uri)
    if dialect not in SCHEMES:
        message = unknown("tracking store", mask(uri).split(":")[0], SCHEMES)
        raise UsageError(f"{message}; the tracking URI is '{mask(uri)}'")
    file = sqlite_file(uri)
    if file == Path():
        raise UsageError(
            f"the tracking URI '{uri}' names no file; write sqlite:///FOLDER/mlflow.db"
        )
    if file is not None and not file.is_absolute():
        raise UsageError(
            f"the tracking URI '{uri}' is not absolute, and workers run in other folders; "
            f"write sqlite:///{file.resolve()}"
        )
    if dialect in PORTS:
        _connect(uri, dialect)


def _connect(uri: str, dialect: str) -> None:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or PORTS[dialect]
    except ValueError as error:
        raise UsageError(f"the tracking URI '{mask(uri)}' cannot be read: {error}") from None
    if host is None:
        raise UsageError(f"the tracking URI '{mask(uri)}' names no host; write scheme://host:port")
    if dialect in getproxies() and not proxy_bypass(host):
        return  # only the proxy can reach it
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"nothing answers at the tracking URI '{mask(uri)}' ({error}); start the server, "
            "correct tracking.uri, or set tracking.enabled=false"
        ) from None


def ui_address(uri: str) -> str:
    """Where a browser finds the store's pages: the server, or what :func:`ui_command` starts."""
    return mask(uri).rstrip("/") if uri.startswith(("http:", "https:")) else "http://127.0.0.1:5000"


def ui_command(uri: str) -> str:
    """What to type to browse the runs; for a server, its address."""
    if uri.startswith(("http:", "https:", "databricks")):
        return mask(uri)
    beside = Path(sys.executable).parent / "mlflow"
    found = shutil.which("mlflow")
    if found is not None and Path(found).resolve() == beside.resolve():
        program = "mlflow"
    elif beside.is_file():
        program = shlex.quote(str(beside))
    else:
        program = f"{shlex.quote(sys.executable)} -m mlflow"
    return f"{program} ui --workers 1 --backend-store-uri {shlex.quote(mask(uri))}"


def _dialect(uri: str) -> str:
    return uri.split(":")[0].split("+")[0].lower()
