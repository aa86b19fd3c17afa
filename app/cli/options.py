"""The options of ``serve`` and ``start``, in one place: the group shows them and has to know which take a value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import click

from app.cli.errors import MISUSED, CommandFailed

F = TypeVar("F", bound=Callable[..., Any])

#: Options that are fields of ``app.config.Config``; the rest belong to the command line itself.
SETTINGS = ("port", "host", "workers", "api_key", "production", "health_monitoring", "mock", "debug", "verbose")


@cache
def serve_options() -> tuple[click.Parameter, ...]:
    """Every parameter of ``serve``. Values stay text: ``app.config`` reads them and says what it accepts."""
    return (
        click.Argument(["bare_port"], metavar="[PORT]", required=False),
        click.Option(["-p", "--port"], metavar="PORT", help="port to listen on (8000)"),
        click.Option(["--host"], metavar="ADDRESS", help="address to listen on (127.0.0.1; 0.0.0.0 with --production)"),
        click.Option(["-w", "--workers"], metavar="N", help="worker processes (1; one per core with --production)"),
        click.Option(
            ["-k", "--api-key"],
            metavar="KEY",
            help="clients must present this key; 'ps' shows it, CLAUDE_WRAPPER_API_KEY does not",
        ),
        click.Option(["-n", "--no-interactive"], is_flag=True, help="ask nothing"),
        _flag("-P", "--production", help="JSON logs, one worker per core, listen on 0.0.0.0"),
        _flag("-H", "--health-monitoring", help="evaluate alerts: one worker of all replicas does"),
        _flag("-m", "--mock", help="answer from the built-in simulator: no key, no network"),
        _flag("-d", "--debug", help="log at debug level, every request with its steps; server-timing on replies"),
        _flag("--verbose", help="log also probes, scrapes and what CLAUDE_WRAPPER_LOG_SAMPLE leaves out"),
        click.Option(["--daemon"], is_flag=True, help="the same as 'start': run in the background"),
    )


def _flag(*names: str, help: str) -> click.Option:  # noqa: A002 - click's word
    """A flag that is a setting: ``None`` when it was not given, so that the environment decides."""
    return click.Option(list(names), is_flag=True, flag_value="true", default=None, type=str, help=help)


def chosen_port(bare_port: str | None, port: str | None) -> str | None:
    """The port, which may be given bare or by its option.

    Raises:
        CommandFailed: both are given, and differ.
    """
    if bare_port is not None and port is not None and bare_port != port:
        raise CommandFailed(f"Two ports were given, {bare_port} and {port}: which one?", status=MISUSED)
    return bare_port if bare_port is not None else port


def port_options(function: F) -> F:
    """``[PORT]`` and ``--port`` of the commands that look at one instance."""
    function = click.option("-p", "--port", metavar="PORT", help="port of the gateway (8000)")(function)
    return click.argument("bare_port", metavar="[PORT]", required=False)(function)
