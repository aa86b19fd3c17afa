"""``claude-wrapper simulator``: the simulator of Anthropic's API alone."""

from __future__ import annotations

import os
from typing import Any

import click

from app.cli.errors import CommandFailed
from app.config import Config, known_variables, refuse_unknown, resolve, settings_of
from workers.simulator.settings import SimulatorSettings


def simulator(host: str, port: int, with_parent: int | None, **given: Any) -> None:
    """Run the simulator of Anthropic's API in the foreground, on this machine only unless told otherwise.

    Point any Anthropic client at it with ANTHROPIC_BASE_URL; every key works that does not begin with 'invalid'.
    """
    from workers.simulator.server import run

    refuse_unknown(os.environ, known_variables(Config, SimulatorSettings))
    settings, _ = resolve(SimulatorSettings, os.environ, given)

    def on_ready(url: str) -> None:
        if with_parent is None:
            click.echo(f"The simulator answers at {url}. Ctrl-C stops it.\n\n  export ANTHROPIC_BASE_URL={url}")

    try:
        run(
            settings,
            host=host,
            port=port,
            exit_with_parent=with_parent is not None,
            parent_pid=with_parent,
            on_ready=on_ready,
        )
    except OSError as exc:
        raise CommandFailed(f"The simulator cannot listen on {host}:{port}: {exc.strerror or exc}.") from None


def _options() -> list[click.Parameter]:
    """One option per setting of the simulator."""
    options: list[click.Parameter] = [
        click.Option(
            ["--host"], default="127.0.0.1", show_default=True, metavar="ADDRESS", help="address to listen on"
        ),
        click.Option(["-p", "--port"], type=click.IntRange(0, 65535), default=8100, show_default=True, metavar="PORT"),
        click.Option(
            ["--with-parent"],
            type=int,
            hidden=True,
            metavar="PID",
            help="end when the starting process, this one, does",
        ),
    ]
    for field, (help_, type_, default) in settings_of(SimulatorSettings).items():
        name = "--" + field.replace("_", "-")
        if type_ is bool:
            options.append(click.Option([f"{name}/--no-{name[2:]}", field], default=None, help=help_.text))
        else:
            shown = ",".join(default) if isinstance(default, tuple) else default
            text = help_.text + ("" if help_.secret or shown == "" else f" ({shown})")
            options.append(click.Option([name, field], metavar="VALUE", help=text))
    return options


command = click.Command("simulator", callback=simulator, help=simulator.__doc__, params=_options())
