from __future__ import annotations

import msgspec
import pytest

from app.cli.commands import command_line
from app.cli.settings import load_settings
from app.cli.settings_table import settings_rows
from app.config import Config, settings_of


def test_every_setting_is_shown_with_its_source() -> None:
    rows = settings_rows(*load_settings({"ANTHROPIC_API_KEY": "sk-ant-1"}, {"port": "9000"}))
    assert [row.name for row in rows] == list(settings_of(Config))
    sources = {row.name: row.source for row in rows}
    assert (sources["anthropic_api_key"], sources["port"], sources["host"]) == ("ANTHROPIC_API_KEY", "flag", "default")


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_WRAPPER_API_KEY", "CLAUDE_WRAPPER_SECRET"):
        monkeypatch.setenv(name, "very-secret")
    monkeypatch.setenv("CLAUDE_WRAPPER_ANTHROPIC_API_KEYS", "very-secret, very-secret-too")
    monkeypatch.setenv("CLAUDE_WRAPPER_REDIS_URL", "redis://:very-secret@localhost")
    for args in (["config"], ["config", "--json"], ["--api-key", "very-secret", "config"]):
        assert command_line(args) == 0
        shown = capsys.readouterr().out
        assert "very-secret" not in shown
        assert shown.count("********") == 6


def test_json_has_typed_values(capsys: pytest.CaptureFixture[str]) -> None:
    command_line(["config", "--json", "--workers", "3"])
    rows = {row["name"]: row for row in msgspec.json.decode(capsys.readouterr().out)}
    assert rows["workers"]["value"] == 3
    assert rows["strict"]["value"] is False
    assert rows["port"]["variable"] == "CLAUDE_WRAPPER_PORT"


def test_sizes_are_shown_as_they_can_be_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAUDE_WRAPPER_MAX_HEADER_BYTES", "5000")
    command_line(["config"])
    values = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert values["CLAUDE_WRAPPER_MAX_BODY_BYTES"] == "32MiB"
    assert values["CLAUDE_WRAPPER_MAX_HEADER_BYTES"] == "5000"
