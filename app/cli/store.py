"""The state store of a command that works on it directly: the configured one, or that of the gateway on a port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import click

from app.cli.errors import MISUSED, CommandFailed
from app.cli.instance import Instance
from app.cli.state_choice import choose_state, masked
from app.config import Config, SettingError, data_root, resolve
from app.errors import StateUnavailable
from app.state import connect
from app.state.connection import StateConnection
from app.state.urls import VARIABLE
from workers import embedded_state

T = TypeVar("T")

#: Deadline of a call: a person waits, and a server far away is no reason to give up at once.
TIMEOUT_S = 1.0

_VARIABLES = ("CLAUDE_WRAPPER_PORT", "PORT", "CLAUDE_WRAPPER_DATA_DIR", "CLAUDE_WRAPPER_REDIS_URL")

_IN_MEMORY = (
    "The state is kept in memory, inside the gateway's own process, where this command cannot reach it. "
    "Use the routes of the running gateway (/admin/keys and /v1/sessions, with CLAUDE_WRAPPER_ADMIN_KEY), "
    "or set CLAUDE_WRAPPER_REDIS_URL to a server."
)


def with_store(
    environ: Mapping[str, str],
    use: Callable[[StateConnection], Awaitable[T]],
    *,
    port: str | None,
    redis_url: str | None,
) -> tuple[T, str]:
    """What ``use`` returns for the store, and which store that is, in words.

    With ``auto`` the embedded server of the port is reached; where no gateway runs it is started for this command.

    Args:
        environ: environment variables.
        use: works on the store.
        port: as given on the command line.
        redis_url: as given on the command line; it wins over the environment.

    Raises:
        CommandFailed: there is no store to work on, or it does not answer.
        SettingError: the port or the URL is wrong.
    """
    # Nothing else of the settings has to be right for it.
    known = {name: environ[name] for name in _VARIABLES if name in environ}
    config, _ = resolve(Config, known, {"port": port, "redis_url": redis_url})
    setting = VARIABLE if redis_url is None else "--redis-url"
    try:
        with _store(config, environ) as (url, words):
            return asyncio.run(_used(url, use, setting)), words
    except SettingError as exc:
        raise SettingError(str(exc).replace(VARIABLE, setting)) from None


@contextmanager
def _store(config: Config, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The URL of the store, and the store in words."""
    if config.redis_url == "auto" and config.port == 0:
        raise SettingError("--port: say which port; 0 is any free one.")
    instance = Instance(data_root(config.data_dir, environ), config.port)
    embedded = f"the embedded state server of port {config.port} ({instance.directory})"
    if config.redis_url == "auto" and instance.running_pid() is not None:
        yield _of_running(instance), embedded
        return
    is_new = not instance.directory.exists()
    with suppress(OSError):  # the embedded server says what is wrong with the directory
        instance.prepare()
    choice = choose_state(config, instance, environ)
    if choice.url.startswith("memory:"):
        raise CommandFailed(_IN_MEMORY, status=MISUSED)
    if choice.server is not None and is_new:
        click.echo(
            f"claude-wrapper: No gateway has run on port {config.port} yet; a state of its own begins in "
            f"{instance.directory}.",
            err=True,
        )
    try:
        yield choice.url, choice.words if choice.server is None else embedded
    finally:
        if choice.server is not None:
            choice.server.stop()


def _of_running(instance: Instance) -> str:
    """The embedded server of a running gateway; it may have been started with another store than we are."""
    socket_file = embedded_state.socket_path(instance.directory)
    if socket_file.exists():
        return f"unix://{socket_file}"
    facts = instance.facts()
    if facts is not None and facts.state.startswith("in memory"):
        raise CommandFailed(_IN_MEMORY, status=MISUSED)
    where = f"in {facts.state}" if facts is not None else "elsewhere, or is still starting"
    raise CommandFailed(
        f"The gateway on port {instance.port} keeps its state {where}. Set CLAUDE_WRAPPER_REDIS_URL, or --redis-url, "
        "to what that gateway uses.",
        status=MISUSED,
    )


async def _used(url: str, use: Callable[[StateConnection], Awaitable[T]], setting: str) -> T:
    logging.getLogger("app.state.outage_log").disabled = True  # it speaks of a gateway that goes on
    state = connect(url, timeout_s=TIMEOUT_S, client_name="claude-wrapper-command")
    try:
        return await use(state)
    except StateUnavailable as exc:
        why = state.status.last_failure or exc.message
        raise CommandFailed(
            f"The state store at {masked(url)} is not available: {why}. "
            f"Check {setting}: host, port, password, TLS (rediss://)."
        ) from None
    finally:
        await state.close()
