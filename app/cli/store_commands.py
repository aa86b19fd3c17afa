"""What the commands have in common that work on the state store: how they are called, and how they answer."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct

from app.cli.errors import MISUSED, CommandFailed
from app.cli.key_options import in_options
from app.cli.options import chosen_port, port_options
from app.cli.store import with_store
from app.errors import GatewayError
from app.state.connection import StateConnection

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class StoreGroup(click.Group):
    """Takes options that stand before the sub-command for options of it, as the whole command line does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their definition."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Moves the sub-command to the front."""
        at = next((at for at, arg in enumerate(args) if arg in self.commands), None)
        if at is not None:
            args = [args[at], *args[at + 1 :], *args[:at]]
        return super().parse_args(ctx, args)


class Asked(Struct, frozen=True):
    """What was asked of every command: which store, and in which form to answer."""

    port: str | None
    redis_url: str | None
    as_json: bool

    def ask(self, use: Callable[[StateConnection], Awaitable[T]]) -> tuple[T, str]:
        """What ``use`` returns for the store, and which store that is, in words."""
        try:
            return with_store(os.environ, use, port=self.port, redis_url=self.redis_url)
        except GatewayError as exc:
            raise in_options(exc) from None


def say_what(ctx: click.Context, group: click.Group) -> None:
    """Refuses a call of a group that names none of its commands."""
    if ctx.invoked_subcommand is None:
        names = ", ".join(group.commands)
        raise CommandFailed(
            f"Say what is to be done: {names}. 'claude-wrapper {group.name} --help' tells more.", status=MISUSED
        )


def on_store(function: F) -> F:
    """``[PORT]``, ``--port``, ``--redis-url`` and ``--json``; they come as ``asked``."""

    @wraps(function)
    def called(bare_port: str | None, port: str | None, redis_url: str | None, as_json: bool, **rest: Any) -> Any:
        return function(asked=Asked(chosen_port(bare_port, port), redis_url, as_json), **rest)

    with_json = click.option("--json", "as_json", is_flag=True, help="as one JSON object")(called)
    with_url = click.option(
        "--redis-url", metavar="URL", help="the store, instead of CLAUDE_WRAPPER_REDIS_URL; 'ps' shows it"
    )(with_json)
    return port_options(with_url)  # type: ignore[return-value]


def print_json(shown: Struct) -> None:
    """One line of JSON."""
    click.echo(msgspec.json.encode(shown))
