"""The simulator in a process of its own, on a free loopback port.

with running_simulator(journal=100, tokens_per_second=25) as simulator:
    client = AsyncAnthropic(base_url=simulator.base_url, api_key="test")
    simulator.script(status=529, times=1)
    assert simulator.journal()[-1]["status"] == 529
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_ROOT = Path(__file__).parents[2]


class Simulator:
    """A running simulator; ``base_url`` has no trailing slash."""

    def __init__(self, base_url: str, process: subprocess.Popen[str]) -> None:
        self.base_url = base_url
        self.process = process
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def journal(self) -> list[dict[str, Any]]:
        """The requests it has recorded, oldest first (fields: ``workers.simulator.journal.Entry``)."""
        return self._call("GET", "/_simulator/journal")

    def journal_until(
        self, condition: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 5.0
    ) -> list[dict[str, Any]]:
        """The journal once it fulfils a condition, such as a client that went away."""
        deadline = time.monotonic() + timeout_s
        while True:
            entries = self.journal()
            if condition(entries):
                return entries
            if time.monotonic() > deadline:
                raise AssertionError(f"the journal never fulfilled the condition: {entries}")
            time.sleep(0.01)

    def invoice(self) -> dict[str, Any]:
        """What Anthropic would bill for the calls that are over (form: ``workers.simulator.invoice.Invoice.shown``)."""
        return self._call("GET", "/_simulator/invoice")

    def settled_invoice(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """The invoice once no call is open any more."""
        deadline = time.monotonic() + timeout_s
        while (invoice := self.invoice())["open"]:
            if time.monotonic() > deadline:
                raise AssertionError(f"{invoice['open']} calls never ended")
            time.sleep(0.01)
        return invoice

    def script(self, **fields: Any) -> None:
        """Adds an admin script (fields: ``workers.simulator.script.Script``)."""
        self._call("POST", "/_simulator/script", fields)

    def reset(self) -> None:
        """Forgets scripts, journal, invoice, prompt cache and rate limits."""
        self._call("POST", "/_simulator/reset", {})

    def _call(self, method: str, path: str, body: object | None = None) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            assert response.status == 200, text
            return json.loads(text)
        finally:
            connection.close()


@contextmanager
def running_simulator(**settings: Any) -> Iterator[Simulator]:
    """Starts a simulator with the given settings (fields of ``SimulatorSettings``) and stops it at the end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CLAUDE_WRAPPER_SIMULATOR_")}
    for name, value in settings.items():
        text = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
        environ[f"CLAUDE_WRAPPER_SIMULATOR_{name.upper()}"] = text
    command = [sys.executable, "-m", "workers.simulator", "--parent-pid", str(os.getpid())]
    process = subprocess.Popen(command, cwd=_ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert base_url.startswith("http://"), "the simulator did not start; see its stderr above"
        yield Simulator(base_url, process)
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()
