"""``claude-wrapper config``: every setting, its value, where it came from; secrets masked."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec
from msgspec import Struct

from app.cli.options import SETTINGS, chosen_port, serve_options
from app.cli.settings import check_settings, load_settings
from app.config import Config, env_names, settings_of, size_text


class Row(Struct, frozen=True, kw_only=True):
    """One setting, and an entry of ``config --json``.

    Args:
        value: its value; ``********`` for a secret that is set.
        source: ``default``, ``flag``, ``production``, or the variable it was read from.
    """

    name: str
    variable: str
    value: Any
    source: str
    help: str


def config(bare_port: str | None, as_json: bool, **given: Any) -> None:
    """Show every setting, its value and where it came from. The options of 'serve' are taken into account."""
    flags = {name: given[name] for name in SETTINGS} | {"port": chosen_port(bare_port, given["port"])}
    settings, sources = load_settings(os.environ, flags)
    check_settings(settings, os.environ)
    rows = settings_rows(settings, sources)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    else:
        click.echo("\n".join(_lines(rows)))


def settings_rows(config: Config, sources: Any) -> list[Row]:
    """The settings in their order of definition."""
    return [
        Row(
            name=field,
            variable=env_names(field, help_)[0],
            value=masked(getattr(config, field)) if help_.secret else getattr(config, field),
            source=sources[field].source,
            help=help_.text,
        )
        for field, (help_, _, _) in settings_of(Config).items()
    ]


def masked(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """A secret, or a list of them, as it may be shown; what is no secret (nothing, ``auto``, ``memory://``) stays."""
    return value if value in ("", (), "auto", "memory://") else "********"


def _lines(rows: list[Row]) -> list[str]:
    sizes = {field for field, (help_, _, _) in settings_of(Config).items() if help_.kind == "size"}
    shown = [
        (row.variable, size_text(row.value) if row.name in sizes else _text(row.value), row.source, row.help)
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [("VARIABLE", "VALUE", "FROM", ""), *shown]) for column in range(3)]
    table = [("VARIABLE", "VALUE", "FROM", "MEANING"), *shown]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]) for line in table
    ]


def _text(value: Any) -> str:
    match value:
        case "" | ():
            return "-"
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join("=".join(item) if isinstance(item, tuple) else item for item in value)
        case float():
            return f"{value:g}"
    return str(value)


command = click.Command(
    "config",
    callback=lambda no_interactive, daemon, **rest: config(**rest),
    help=config.__doc__,
    params=[*serve_options(), click.Option(["--json", "as_json"], is_flag=True, help="as a JSON array")],
)
