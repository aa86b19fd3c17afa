"""``claude-wrapper monitor`` as an operator calls it, on a real server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from app.domain import minutes
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.minutes import add_minute_command
from tests.support.gateway import gateway_command
from tests.support.processes import child_process, clean_environment
from tests.support.redis import RedisServer, redis_servers, server

__all__ = ["redis_servers", "server"]


def count(store: RedisServer, **figures: int) -> None:
    """What workers have counted this minute."""

    async def add() -> None:
        state: StateConnection = connect(store.url, timeout_s=5.0)
        await state.pipeline([add_minute_command(figures, {})])
        await state.close()

    asyncio.run(add())


def ran(*args: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        gateway_command("monitor", *args),
        env=clean_environment(env), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("errors", "status", "level"), [(0, 0, "ok"), (7, 1, "warning"), (20, 2, "critical")])
def test_once_shows_every_rule_and_tells_the_worst_by_its_status(
    server: RedisServer, errors: int, status: int, level: str
) -> None:
    count(server, **{minutes.REQUESTS: 100, minutes.ERRORS: errors})
    shown = ran("--once", env={"CLAUDE_WRAPPER_REDIS_URL": server.url})
    assert (shown.returncode, shown.stderr) == (status, "")
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line}
    assert level in lines["error_rate"]
    assert f"{errors} %" in lines["error_rate"]
    assert "no data" in lines["response_time"]
    assert shown.stdout.splitlines()[-1].startswith(f"{level}, by ")


def test_once_as_json_is_one_object(server: RedisServer) -> None:
    count(server, **{minutes.REQUESTS: 100, minutes.ERRORS: 50})
    told = json.loads(ran("--once", "--json", env={"CLAUDE_WRAPPER_REDIS_URL": server.url}).stdout)
    rules = {rule["alert"]: rule for rule in told["rules"]}
    assert told["level"] == "critical"
    assert (rules["error_rate"]["value"], rules["error_rate"]["critical"]) == (0.5, 0.1)
    assert rules["response_time"]["level"] is None


def test_thresholds_are_settings(server: RedisServer) -> None:
    count(server, **{minutes.REQUESTS: 100, minutes.ERRORS: 7})
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url, "CLAUDE_WRAPPER_ALERT_ERROR_RATE": "0.08"}
    assert ran("--once", env=env).returncode == 0


def test_a_store_that_is_away_is_neither_good_nor_bad(tmp_path: Path) -> None:
    told = ran("--once", env={"CLAUDE_WRAPPER_REDIS_URL": f"unix://{tmp_path}/nothing"})
    assert (told.returncode, told.stdout) == (3, "")
    assert "is not available" in told.stderr


def test_without_a_gateway_there_is_nothing_to_watch(tmp_path: Path) -> None:
    for args, status in (((), 1), (("--once",), 3)):
        told = ran("18999", *args, env={"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)})
        assert told.returncode == status
        assert "No gateway runs on port 18999" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_said_before_anything_runs(server: RedisServer) -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url, "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL": "hooks.example.com/secret"}
    told = ran(env=env)
    assert told.returncode == 2
    assert "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL" in told.stderr
    assert "secret" not in told.stderr


def test_it_leads_until_it_is_told_to_stop(server: RedisServer, tmp_path: Path) -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url, "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5"}
    count(server, **{minutes.REQUESTS: 100, minutes.ERRORS: 50})
    with child_process(gateway_command("monitor", "--json"), env=env, output=tmp_path / "output") as process:
        process.wait_for("Critical: share of failed requests", within_s=60)
        assert server.ask("GET", keys.LEADER) is not None
        assert psutil.Process(process.pid).memory_info().rss < 100e6
        process.send(signal.SIGTERM)
        assert process.wait(within_s=30) == 0
        records = [json.loads(line) for line in process.logs.splitlines()]
    [alert] = [record for record in records if "alert" in record]
    assert (alert["level"], alert["alert"], alert["alert_level"]) == ("ERROR", "error_rate", "critical")
    assert server.ask("GET", keys.LEADER) is None


def test_ctrl_c_ends_it_in_good_order(server: RedisServer, tmp_path: Path) -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url}
    with child_process(gateway_command("monitor"), env=env, output=tmp_path / "output") as process:
        process.wait_for("evaluates the alerts from now on", within_s=60)
        process.interrupt()
        assert process.wait(within_s=30) == 0
        assert "Traceback" not in process.logs


def test_it_waits_for_a_store_that_is_away(server: RedisServer, tmp_path: Path) -> None:
    server.kill()
    env = {"CLAUDE_WRAPPER_REDIS_URL": server.url, "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5"}
    with child_process(gateway_command("monitor"), env=env, output=tmp_path / "output") as process:
        process.wait_for("Alerts are not evaluated until the state store answers", within_s=60)
        server.start()
        process.wait_for("evaluates the alerts from now on", within_s=60)
