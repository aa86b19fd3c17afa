"""The log of a gateway as it runs: nothing of it is lost at the end, and a worker can be watched while it serves."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.gateway import RunningGateway, running_gateway

ADMIN_KEY = "admin-key-for-tests"
REQUESTS = 40
PATIENCE_S = 60.0


def ask(gateway: RunningGateway, path: str, *, method: str = "GET") -> Any:
    request = urllib.request.Request(
        gateway.base_url + path, method=method, headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        return json.load(reply)


def told(gateway: RunningGateway) -> list[Any]:
    """The lines of the log that are about requests."""
    lines = [json.loads(line) for line in gateway.logs.splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "app.request"]


def test_no_line_is_lost_when_workers_are_told_to_leave() -> None:
    env = {"CLAUDE_WRAPPER_LOG_FORMAT": "json", "CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY}
    with running_gateway("--mock", "--workers", "2", env=env) as gateway:
        for _ in range(REQUESTS):
            ask(gateway, "/v1/models")
        gateway.process.send(signal.SIGTERM)
        assert gateway.process.wait(within_s=PATIENCE_S) == 0
        assert [line["path"] for line in told(gateway)].count("/v1/models") == REQUESTS


def test_a_worker_can_be_watched_while_it_serves(tmp_path: Path) -> None:
    env = {"CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY}
    with running_gateway("--mock", env=env, data_dir=tmp_path / "data") as gateway:
        for kind in ("profile", "memory"):
            report = ask(gateway, f"/admin/debug/{kind}?seconds=0.3", method="POST")
            assert report["beginning"]
            for file in report["files"]:
                assert Path(file["path"]).stat().st_size == file["size_bytes"] > 0
        assert len(ask(gateway, "/admin/debug")["data"]) == 3
