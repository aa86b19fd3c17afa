"""A gateway with ``--mock`` under test, together with what its simulator has seen."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually

#: What is asked of every gateway under test: a journal, and nothing that slows the start.
_ENVIRONMENT = {"CLAUDE_WRAPPER_SIMULATOR_JOURNAL": "2000"}


class MockGateway:
    """A gateway that is ready and answers from its own simulator.

    Attributes:
        url: what ``OPENAI_BASE_URL`` would be, with ``/v1``.
        root: the same without ``/v1``.
    """

    def __init__(self, gateway: RunningGateway) -> None:
        self.root = gateway.base_url
        self.url = f"{gateway.base_url}/v1"
        self.process = gateway.process
        self._simulator_port = _simulator_port(gateway)

    def upstream_calls(self, about: str) -> list[dict[str, Any]]:
        """The journal's entries of the Messages requests that contain a text, oldest first."""
        url = f"http://127.0.0.1:{self._simulator_port}/_simulator/journal"
        with urllib.request.urlopen(url, timeout=10) as reply:
            entries = json.load(reply)
        messages = (entry for entry in entries if entry["path"] == "/v1/messages")
        return [entry for entry in messages if about in json.dumps(entry["body"], ensure_ascii=False)]

    def wait_for_calls(self, about: str, count: int = 1, *, within_s: float = 10.0) -> None:
        """Returns once so many requests about a text have arrived upstream."""
        eventually(
            lambda: len(self.upstream_calls(about)) >= count, within_s=within_s, message=f"no call about {about}"
        )

    def wait_for_cancelled_calls(self, about: str, count: int = 1, *, within_s: float = 5.0) -> list[float]:
        """When the upstream calls about a text were given up by the gateway, once so many were; Unix seconds."""

        def cancelled() -> list[float]:
            return [entry["client_closed_at"] for entry in self.upstream_calls(about) if entry["client_closed_at"]]

        eventually(lambda: len(cancelled()) >= count, within_s=within_s, message=f"calls about {about} are still open")
        return cancelled()


def _simulator_port(gateway: RunningGateway) -> int:
    for process in gateway.process.children():
        command = process.cmdline()
        if "simulator" in command:
            return int(command[command.index("--port") + 1])
    raise AssertionError("the gateway has started no simulator")


@contextmanager
def mock_gateway(*args: str, env: Mapping[str, str] | None = None) -> Iterator[MockGateway]:
    """Runs ``claude-wrapper --mock`` on a free port until the block ends.

    Args:
        args: further flags.
        env: settings.
    """
    with running_gateway("--mock", *args, env=_ENVIRONMENT | dict(env or {})) as gateway:
        yield MockGateway(gateway)
