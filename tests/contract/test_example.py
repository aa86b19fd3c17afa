"""The first thing a new user does: the example of the mission, with curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.mock_gateway import MockGateway

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

REQUEST = {
    "model": "claude-3-5-sonnet-20241022",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
}


def curl(gateway: MockGateway, *options: str, **change: Any) -> str:
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "20", "-X", "POST"]
    headers = ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer your-api-key"]
    body = json.dumps(REQUEST | change)
    finished = subprocess.run(
        [*command, *options, f"{gateway.url}/chat/completions", *headers, "-d", body],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return finished.stdout


def test_curl_gets_an_answer(gateway: MockGateway) -> None:
    completion = json.loads(curl(gateway))

    assert completion["object"] == "chat.completion"
    assert "the capital of France" in completion["choices"][0]["message"]["content"]


def test_curl_gets_a_stream(gateway: MockGateway) -> None:
    lines = [line for line in curl(gateway, "--no-buffer", stream=True).split("\n") if line]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if not line.startswith(":")]

    assert "the capital of France" in "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert lines[-1] == "data: [DONE]"
