"""What Ray reads from the environment."""

from pathlib import Path

import pytest

from qbench.execution.environment import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    return tmp_path


def test_a_clusters_token_is_used_where_there_is_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "RAY_AUTH_MODE" not in settings("10.0.0.1:6379"), "there is no token"
    (home / ".ray" / "auth_token").write_text("0123")
    assert settings("10.0.0.1:6379")["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_MODE" not in settings(None), "a Ray of its own needs none"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE" not in settings("10.0.0.1:6379"), "the user has chosen"
