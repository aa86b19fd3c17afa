from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

from tests.support.gateway import gateway_command
from tests.support.processes import child_process


def test_simulator_runs_alone_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    command = gateway_command("simulator", "--port", "0", "--seed", "3")
    with child_process(command, output=tmp_path / "output") as process:
        url = process.wait_for(r"export ANTHROPIC_BASE_URL=(\S+)", within_s=30)[1]
        request = urllib.request.Request(
            f"{url}/v1/messages",
            json.dumps(
                {"model": "claude-haiku-5-5", "max_tokens": 900, "messages": [{"role": "user", "content": "hello"}]}
            ).encode(),
            {"content-type": "application/json", "x-api-key": "any", "anthropic-version": "2023-06-01"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["type"] == "message"
        process.send(signal.SIGINT)
        assert process.wait(within_s=30) == 0
