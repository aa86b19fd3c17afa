from __future__ import annotations

import pytest

from app.cli.announce import base_url, ready_block
from app.config import Config


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
