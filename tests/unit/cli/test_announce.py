from __future__ import annotations

from typing import Any

import pytest

from app.cli.announce import base_url, nobody_reads_metrics, ready_block, ready_fields
from app.config import Config
from app.observability.version import VERSION


def test_block_can_be_pasted_and_shows_no_key() -> None:
    config = Config(port=9000, api_key="sk-cw-secret", anthropic_api_key="sk-ant-secret")
    block = ready_block(config, state="embedded valkey")
    assert "  export OPENAI_BASE_URL=http://127.0.0.1:9000/v1\n" in block
    assert "API key required" in block
    assert "secret" not in block


def test_key_that_was_made_just_now_can_be_pasted_too() -> None:
    block = ready_block(Config(api_key="sk-cw-new"), state="x", new_key="sk-cw-new")
    assert block.count("sk-cw-new") == 1
    assert "  export OPENAI_API_KEY=sk-cw-new\n" in block
    assert "shown once" in block


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
    ],
)
def test_url_is_one_that_a_client_here_can_use(host: str, url: str) -> None:
    assert base_url(Config(host=host)) == url


def test_missing_credential_is_said_with_what_to_do() -> None:
    assert "claude-wrapper --mock" in ready_block(Config(), state="x")
    assert "claude-wrapper --mock" not in ready_block(Config(mock=True), state="x")
    for credential in ({"anthropic_auth_token": "x"}, {"anthropic_api_key": "x"}, {"anthropic_api_keys": ("x",)}):
        assert "claude-wrapper --mock" not in ready_block(Config(**credential), state="x")


def test_open_api_that_others_can_reach_is_warned_about_loudly() -> None:
    assert "THIS API IS OPEN" in ready_block(Config(host="0.0.0.0", mock=True), state="x")
    assert "THIS API IS OPEN" not in ready_block(Config(host="0.0.0.0", mock=True, api_key="k"), state="x")
    assert "THIS API IS OPEN" not in ready_block(Config(host="127.0.0.1", mock=True), state="x")


def test_the_dashboard_is_named_and_traces_only_where_they_go_somewhere() -> None:
    assert "  dashboard   http://127.0.0.1:9000/dashboard\n" in ready_block(Config(port=9000), state="x")
    assert "  traces      http://collector:4318\n" in ready_block(Config(), state="x", traces="http://collector:4318")
    assert "  traces " not in ready_block(Config(), state="x")


WEBHOOK = "https://hooks.example.com/canary"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"health_monitoring": True}, "evaluated by one worker of all replicas; changes go to the log\n"),
        (
            {"health_monitoring": True, "alert_webhook_url": WEBHOOK},
            "evaluated by one worker of all replicas; changes go to the log and the webhook\n",
        ),
        ({"alert_webhook_url": WEBHOOK}, "NOT EVALUATED HERE\n"),
    ],
)
def test_whether_alerts_are_evaluated_is_said_where_somebody_asked_for_them(
    settings: dict[str, Any], line: str
) -> None:
    block = ready_block(Config(**settings), state="x")
    assert f"  alerts      {line}" in block
    assert "canary" not in block
    assert "  alerts " not in ready_block(Config(), state="x")


def test_a_webhook_that_nobody_here_would_tell_is_warned_about() -> None:
    warning = "claude-wrapper monitor"
    assert warning in ready_block(Config(alert_webhook_url=WEBHOOK), state="x")
    assert warning not in ready_block(Config(alert_webhook_url=WEBHOOK, health_monitoring=True), state="x")
    assert warning not in ready_block(Config(), state="x")


@pytest.mark.parametrize(
    ("settings", "nobody"),
    [
        ({"metrics": "admin"}, True),
        ({"metrics": "admin", "require_key": "no"}, True),
        ({"metrics": "admin", "admin_key": "k"}, False),
        ({"metrics": "admin", "admin_key": "k", "require_key": "no"}, False),
        ({"metrics": "admin", "api_key": "k", "require_key": "no"}, False),
        ({"metrics": "admin", "keys_file": "keys.toml", "require_key": "no"}, False),
        ({"metrics": "admin", "require_key": "yes"}, False),
        ({"metrics": "open"}, False),
        ({"metrics": "off"}, False),
    ],
)
def test_metrics_that_nobody_can_read_are_warned_about(settings: dict[str, Any], nobody: bool) -> None:
    config = Config(**settings)
    assert nobody_reads_metrics(config) is nobody
    assert ("/metrics answers 401" in ready_block(config, state="x")) is nobody


def test_a_log_of_json_gets_fields_and_no_key() -> None:
    config = Config(host="0.0.0.0", port=9000, workers=3, api_key="sk-canary", anthropic_api_key="sk-canary")
    assert ready_fields(config, state="redis://there", traces="http://collector:4318") == {
        "version": VERSION,
        "address": "http://127.0.0.1:9000",
        "host": "0.0.0.0",
        "workers": 3,
        "mode": "Claude at https://api.anthropic.com",
        "store": "redis://there",
        "protected": True,
        "health_monitoring": False,
        "traces": "http://collector:4318",
    }
    assert "traces" not in ready_fields(config, state="x")
