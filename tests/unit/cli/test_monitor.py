from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.cli.commands import command_line
from app.cli.monitor import UNKNOWN


@pytest.fixture(autouse=True)
def outages_are_told_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command keeps the log of outages quiet, which is its own business only in a process of its own."""
    monkeypatch.setattr(logging.getLogger("app.state.outage_log"), "disabled", False)


_REFUSED = {"CLAUDE_WRAPPER_ALERT_ERROR_RATE": "0.5", "CLAUDE_WRAPPER_ALERT_ERROR_RATE_CRITICAL": "0.1"}


@pytest.mark.parametrize(
    ("args", "env", "complaint", "status"),
    [
        (["18999"], {}, "No gateway runs on port 18999", 1),
        (["--colour"], {}, "No such option", 2),
        (["--redis-url"], {}, "requires an argument", 2),
        (["9000", "--port", "9001"], {}, "Two ports were given", 2),
        (["x"], {}, "'x' is not accepted", 2),
        (["--redis-url", "http://x"], {}, "--redis-url", 2),
        ([], _REFUSED, "CLAUDE_WRAPPER_ALERT_ERROR_RATE is above", 2),
        ([], {"CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "soon"}, "CLAUDE_WRAPPER_MONITOR_INTERVAL_S", 2),
        ([], {"CLAUDE_WRAPPER_REDIS_URL": "memory://"}, "kept in memory", 2),
        (["--redis-url", "unix:///no/such.sock"], {}, "is not available", 1),
    ],
)
def test_what_fails_is_neither_a_warning_nor_critical_to_whoever_asks_once(
    args: list[str],
    env: dict[str, str],
    complaint: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path), **env}.items():
        monkeypatch.setenv(name, value)
    assert command_line(["monitor", "--once", *args]) == UNKNOWN
    assert complaint in capsys.readouterr().err
    if "is not available" not in complaint:  # without --once it would wait for the store
        assert command_line(["monitor", *args]) == status
        assert complaint in capsys.readouterr().err
