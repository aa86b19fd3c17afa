"""Nobody reads what a process prints, and the pipe is full: it works on, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.domain import minutes
from app.state import keys
from tests.support.gateway import gateway_command
from tests.support.processes import clean_environment, eventually, is_alive
from tests.support.redis import RedisServer, redis_servers, server
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

__all__ = ["redis_servers", "server"]

#: However busy the machine is.
PATIENCE_S = 60.0


@contextmanager
def unread(*args: str, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command that logs into a full pipe."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"." * 4096)
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        gateway_command(*args),
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    family = [psutil.Process(process.pid)]
    try:
        yield process
        family += family[0].children(recursive=True) if process.poll() is None else []
    finally:
        for member in reversed(family):
            if is_alive(member):
                member.kill()
        process.wait()
        os.close(reader)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def workers_of(master: subprocess.Popen[bytes]) -> set[int]:
    """gunicorn's workers: the children that were forked, not started."""
    process = psutil.Process(master.pid)
    return {child.pid for child in process.children() if is_alive(child) and child.cmdline() == process.cmdline()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_master_replaces_its_workers_and_stops(server: RedisServer, tmp_path: Path, log_format: str) -> None:
    env = {
        "CLAUDE_WRAPPER_REDIS_URL": server.url,
        "CLAUDE_WRAPPER_DATA_DIR": str(tmp_path),
        "CLAUDE_WRAPPER_LOG_FORMAT": log_format,
        "CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "10",
    }
    port = free_port()
    with unread("serve", "--mock", "--port", str(port), "--workers", "2", env=env) as master:
        eventually(lambda: answers(port) and len(workers_of(master)) == 2, within_s=PATIENCE_S)
        first = workers_of(master)
        os.kill(min(first), signal.SIGKILL)
        eventually(lambda: len(workers_of(master) - {min(first)}) == 2, within_s=PATIENCE_S, message="not replaced")
        eventually(lambda: answers(port), within_s=PATIENCE_S)
        before = workers_of(master)
        master.send_signal(signal.SIGHUP)
        eventually(lambda: len(workers_of(master) - before) == 2, within_s=PATIENCE_S, message="SIGHUP does nothing")
        eventually(lambda: not workers_of(master) & before, within_s=PATIENCE_S, message="the old workers stay")
        assert answers(port)
        master.terminate()
        assert master.wait(PATIENCE_S) == 0


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as running:
        yield running


def test_the_monitor_tells_the_webhook_and_stops(server: RedisServer, receiver: WebhookReceiver) -> None:
    env = {
        "CLAUDE_WRAPPER_REDIS_URL": server.url,
        "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5",
        "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL": receiver.url,
    }
    server.ask("HSET", keys.minute(int(time.time()) // 60), minutes.REQUESTS, "100", minutes.ERRORS, "50")
    with unread("monitor", env=env) as monitor:
        receiver.wait_for("error_rate", 1)
        assert server.ask("GET", keys.LEADER) is not None
        monitor.terminate()
        assert monitor.wait(PATIENCE_S) == 0
    assert server.ask("GET", keys.LEADER) is None
