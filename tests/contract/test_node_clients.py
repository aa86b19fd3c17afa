"""Smoke tests of clients for Node: the official ``openai`` package and the Vercel AI SDK.

Skipped where there is no Node, or where ``npm install --prefix tests/contract/node`` has not run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL

SCRIPTS = Path(__file__).parent / "node"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (SCRIPTS / "node_modules").is_dir(),
    reason="there is no Node, or its packages are not installed",
)


def seen_by(script: str, gateway: MockGateway) -> dict[str, Any]:
    """What a script prints."""
    finished = subprocess.run(
        ["node", SCRIPTS / script],
        env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": gateway.url, "MODEL": MODEL},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    seen: dict[str, Any] = json.loads(finished.stdout)
    return seen


@pytest.fixture(scope="module")
def openai_s(gateway: MockGateway) -> dict[str, Any]:
    return seen_by("openai.mjs", gateway)


@pytest.fixture(scope="module")
def vercel_s(gateway: MockGateway) -> dict[str, Any]:
    return seen_by("vercel.mjs", gateway)


def test_openai_s_package_is_answered(openai_s: dict[str, Any]) -> None:
    assert "Hello from Node" in openai_s["plain"]
    assert "Hello from Node" in openai_s["streamed"]
    assert openai_s["usage"]["total_tokens"] > 0
    assert openai_s["requestId"]


def test_openai_s_package_runs_tools_in_a_stream(openai_s: dict[str, Any]) -> None:
    assert "sunny in Rome; sunny in Oslo" in openai_s["afterTools"]


def test_openai_s_package_parses_an_object(openai_s: dict[str, Any]) -> None:
    assert set(openai_s["parsed"]) == {"name", "people"}


def test_openai_s_package_raises_its_errors(openai_s: dict[str, Any]) -> None:
    assert openai_s["rateLimit"] == {"is": True, "code": "rate_limit_exceeded", "after": "30"}
    assert openai_s["midStream"] == {"is": True, "code": "overloaded"}


def test_openai_s_package_lists_the_models(openai_s: dict[str, Any]) -> None:
    assert MODEL in openai_s["models"]


def test_vercel_s_sdk_is_answered(vercel_s: dict[str, Any]) -> None:
    assert "Hello from Vercel" in vercel_s["plain"]
    assert "Hello from Vercel" in vercel_s["streamed"]
    assert vercel_s["finishReason"] == "stop"
    assert vercel_s["usage"]["totalTokens"] > 0


def test_vercel_s_sdk_runs_tools_in_a_stream(vercel_s: dict[str, Any]) -> None:
    assert "sunny in Rome; sunny in Oslo" in vercel_s["afterTools"]
    assert vercel_s["steps"] == 2


def test_vercel_s_sdk_parses_an_object(vercel_s: dict[str, Any]) -> None:
    assert set(vercel_s["parsed"]) == {"name", "people"}


def test_vercel_s_sdk_shows_reasoning(vercel_s: dict[str, Any]) -> None:
    assert vercel_s["reasoning"]


def test_vercel_s_sdk_raises_its_errors(vercel_s: dict[str, Any]) -> None:
    assert vercel_s["rateLimit"] == {"is": True, "status": 429, "retryable": True}
