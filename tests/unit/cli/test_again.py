from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.cli.again import as_called


@pytest.mark.parametrize(
    ("called", "command"),
    [
        (".venv/bin/claude-wrapper", ".venv/bin/claude-wrapper stop 8012"),
        ("/opt/my apps/bin/claude-wrapper", "'/opt/my apps/bin/claude-wrapper' stop 8012"),
        ("claude-wrapper", "claude-wrapper stop 8012"),
        ("/src/app/__main__.py", f"{sys.executable} -P /src/app/__main__.py stop 8012"),
    ],
)
def test_next_command_is_spelled_as_this_one_was(monkeypatch: pytest.MonkeyPatch, called: str, command: str) -> None:
    monkeypatch.setattr(sys, "argv", [called, "start", "8012"])
    assert as_called("stop", "8012") == command


def test_command_of_the_path_needs_no_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "claude-wrapper"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "start"])
    assert as_called("stop") == "claude-wrapper stop"
