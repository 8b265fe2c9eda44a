"""Environment variables that Ray reads when it is imported: quiet, and with a cluster's token."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["environment", "settings"]

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker sees what this process sees
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output prints even where verbose is 0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # else a dead worker is told on standard output
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # results are our own files; Tune's state is unused
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def settings(address: str | None) -> dict[str, str]:
    """The variables for a Ray on this machine, or for the cluster at ``address``.

    A cluster started by ``ray start`` asks for a token, which Ray keeps in a file or a variable and
    does not look for unless it is told; a cluster that asks for none takes no notice.
    """
    named = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    known = named or (Path.home() / ".ray" / "auth_token").is_file()
    if address and known and "RAY_AUTH_MODE" not in os.environ:
        return QUIET | {"RAY_AUTH_MODE": "token"}
    return QUIET


@contextmanager
def environment(**settings: str) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
