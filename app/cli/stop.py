"""``claude-wrapper stop``: ends the gateway of a port, and waits for it."""

from __future__ import annotations

import os
import signal
import time

import click

from app.cli.errors import CommandFailed
from app.cli.instance import Instance, others
from app.cli.options import chosen_port, port_options
from app.cli.settings import port_of
from app.cli.status import find_out
from app.config import data_root

_LIMIT_WITHOUT_FACTS_S = 300.0
#: The master needs a little longer than its workers.
_MARGIN_S = 10.0
_POLL_S = 0.05
#: After this long the user wants to know what is being waited for.
_PATIENCE_S = 2.0


@click.command("stop")
@port_options
@click.option("--now", is_flag=True, help="do not wait for requests in flight")
def command(bare_port: str | None, port: str | None, now: bool) -> None:
    """Stop the gateway of a port; requests in flight may finish."""
    number = port_of(os.environ, chosen_port(bare_port, port))
    root = data_root(os.environ.get("CLAUDE_WRAPPER_DATA_DIR", ""), os.environ)
    instance = Instance(root, number)
    pid = instance.running_pid()
    if pid is None:
        if find_out(instance, now=time.time()).running:
            raise CommandFailed(
                f"A gateway answers on port {number}, but {root} knows nothing of it: set CLAUDE_WRAPPER_DATA_DIR as "
                "it was set when that one was started."
            )
        click.echo(f"No gateway runs on port {number}.{others(root)}")
        return
    facts = instance.facts()
    limit_s = (facts.stop_limit_s if facts else _LIMIT_WITHOUT_FACTS_S) + _MARGIN_S
    _stop(instance, pid, now=now, limit_s=limit_s)


def _stop(instance: Instance, pid: int, *, now: bool, limit_s: float) -> None:
    started = time.monotonic()
    try:
        os.kill(pid, signal.SIGQUIT if now else signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise CommandFailed(f"The gateway on port {instance.port} (pid {pid}) belongs to another user.") from None
    told = False
    while instance.running_pid() == pid:
        waited_s = time.monotonic() - started
        if waited_s > limit_s:
            raise CommandFailed(
                f"The gateway (pid {pid}) does not stop; 'kill -9 {pid}' ends it, and its workers follow."
            )
        if waited_s > _PATIENCE_S and not told:
            told = True
            click.echo(f"Requests in flight may take up to {limit_s:.0f} s; 'claude-wrapper stop --now' does not wait.")
        time.sleep(_POLL_S)
    click.echo(f"Stopped the gateway on port {instance.port} (pid {pid}).")
