"""``claude-wrapper status``: whether a gateway runs on a port, and how it is."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

import click
import msgspec
from msgspec import Struct

from app.cli.errors import NOT_RUNNING
from app.cli.instance import Instance, others
from app.cli.local_http import ask
from app.cli.options import chosen_port, port_options
from app.cli.settings import port_of
from app.config import data_root

_HEALTH_TIMEOUT_S = 3.0


class Status(Struct, frozen=True, kw_only=True):
    """What is known of the gateway of a port; the fields of ``status --json``.

    Args:
        pid: unknown for a gateway whose PID file is elsewhere.
        ready: it has said so, or answers.
        health: ``status`` of its ``/health``.
    """

    running: bool
    port: int
    ready: bool = False
    pid: int | None = None
    url: str | None = None
    version: str | None = None
    uptime_s: float | None = None
    workers: int | None = None
    mode: str | None = None
    state: str | None = None
    health: str | None = None


@click.command("status")
@port_options
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def command(bare_port: str | None, port: str | None, as_json: bool) -> int:
    """Tell whether a gateway runs on a port (exit status 0) or not (3), and how it is."""
    number = port_of(os.environ, chosen_port(bare_port, port))
    root = data_root(os.environ.get("CLAUDE_WRAPPER_DATA_DIR", ""), os.environ)
    status = find_out(Instance(root, number), now=time.time())
    if as_json:
        click.echo(msgspec.json.encode(status))
    elif status.running:
        click.echo("\n".join(_in_words(status)))
    else:
        click.echo(f"No gateway runs on port {number}.{others(root)}")
    return 0 if status.running else NOT_RUNNING


def find_out(instance: Instance, *, now: float) -> Status:
    """Looks at the PID file and asks ``/health``."""
    pid = instance.running_pid()
    facts = instance.facts() if pid is not None else None
    url = facts.url if facts else f"http://127.0.0.1:{instance.port}"
    health = _health(url)
    if pid is None:
        if not health:
            return Status(running=False, port=instance.port)
        return Status(
            running=True,
            port=instance.port,
            ready=True,
            url=url,
            version=health.get("version"),
            uptime_s=health.get("uptime"),
            workers=health.get("workers"),
            health=health.get("status"),
        )
    if facts is None:
        return Status(running=True, port=instance.port, pid=pid)
    return Status(
        running=True,
        port=instance.port,
        ready=True,
        pid=pid,
        url=url,
        version=facts.version,
        uptime_s=round(now - facts.started_at, 1),
        workers=facts.workers,
        mode=facts.mode,
        state=facts.state,
        health=health.get("status") if health else "does not answer",
    )


def _health(url: str) -> dict[str, Any]:
    """The body of ``/health``; empty when what answers is no gateway."""
    with suppress(OSError):
        status, body = ask(url, "/health", timeout_s=_HEALTH_TIMEOUT_S)
        if status == 200 and isinstance(body, dict) and {"status", "version", "workers"} <= body.keys():
            return body
    return {}


def _in_words(status: Status) -> list[str]:
    if not status.ready:
        return [f"A gateway is starting or stopping on port {status.port} (pid {status.pid})."]
    who = f"pid {status.pid}" if status.pid else "started elsewhere: no PID file here"
    rows = {
        "health": status.health,
        "up": duration(status.uptime_s) if status.uptime_s is not None else None,
        "workers": status.workers,
        "mode": status.mode,
        "state": status.state,
        "version": status.version,
    }
    return [f"A gateway runs at {status.url} ({who})."] + [
        f"  {name:<9}{value}" for name, value in rows.items() if value
    ]


def duration(seconds: float) -> str:
    """``3 d 4 h``, ``4 h 5 min``, ``5 min 6 s`` or ``6 s``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
