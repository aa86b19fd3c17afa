"""``claude-wrapper monitor``: the alerts of a deployment, evaluated beside its gateways, or once to be looked at."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import click
from msgspec import Struct

from app.cli.errors import CommandFailed
from app.cli.instance import Instance
from app.cli.settings import check_settings, load_settings, port_of
from app.cli.store_commands import Asked, on_store, print_json
from app.cli.tables import in_a_table
from app.config import Config, SettingError, data_root
from app.domain.alert_rules import RULES
from app.domain.alert_words import title_of, value_in_words
from app.domain.alerts import SEVERITY, Level, Reading, Unit
from app.observability import log

#: Exit status of ``--once`` where nothing could be evaluated (the status that Nagios calls unknown).
UNKNOWN: Final = 3

_ONCE: Final = "--once"


class RuleObject(Struct, frozen=True, kw_only=True):
    """One rule as ``--json`` shows it.

    Args:
        alert: its name.
        level: what its value amounts to; ``None`` where there is nothing to read.
        value: in ``unit``; ``None`` likewise, as the following are.
        unit: ``s``, ``share``, ``days`` or ``fact``.
        warning: from here on it is a warning; ``None`` also for a rule without one.
        critical: from here on it is critical.
        about: where it was read.
    """

    alert: str
    level: Level | None = None
    value: float | None = None
    unit: Unit | None = None
    warning: float | None = None
    critical: float | None = None
    about: str = ""


class RulesObject(Struct, frozen=True, kw_only=True):
    """What ``--once --json`` prints."""

    level: Level
    rules: tuple[RuleObject, ...]


class _MonitorCommand(click.Command):
    """With ``--once`` whatever fails is ``UNKNOWN``: 1 and 2 say how the alerts are."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads the arguments."""
        is_once = _ONCE in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            if not is_once:
                raise
            hint = "'claude-wrapper monitor --help' shows what there is."
            raise CommandFailed(f"{exc.format_message()} {hint}", status=UNKNOWN) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (CommandFailed, SettingError, OSError) as exc:
            if not ctx.params["once"]:
                raise
            raise CommandFailed(str(exc), status=UNKNOWN) from None


@click.command("monitor", cls=_MonitorCommand)
@click.option(
    _ONCE, is_flag=True, help="evaluate once, tell nobody; exit status 0 fine, 1 warning, 2 critical, 3 unknown"
)
@on_store
def command(asked: Asked, once: bool) -> int:
    """Evaluate alerts beside the gateways and tell the log and the webhook of every change, until Ctrl-C.

    Of all monitors and gateways with --health-monitoring that share a store, one evaluates at a time. The store is
    CLAUDE_WRAPPER_REDIS_URL; without it the embedded server of the gateway on PORT (8000), which has to run. With
    --json the log is JSON lines, and --once prints one object.
    """
    config, _ = load_settings(os.environ)
    check_settings(config, os.environ)
    _refuse_no_gateway(asked, config)
    return _show(asked, config) if once else _watch(asked, config)


def _refuse_no_gateway(asked: Asked, config: Config) -> None:
    """An embedded server is not started for a monitor: it is the gateway's."""
    if (asked.redis_url or config.redis_url) != "auto":
        return
    port = port_of(os.environ, asked.port)
    if Instance(data_root(config.data_dir, os.environ), port).running_pid() is None:
        raise CommandFailed(
            f"No gateway runs on port {port} whose alerts could be evaluated. Start it, say which port, or set "
            "CLAUDE_WRAPPER_REDIS_URL, or --redis-url, to the store that the gateways use."
        )


def _show(asked: Asked, config: Config) -> int:
    from app.gateway.monitor import current_readings

    readings, store = asked.ask(lambda state: current_readings(config, state))
    worst = max((reading.level for reading in readings), key=SEVERITY.__getitem__)
    rules = _rules(readings)
    if asked.as_json:
        print_json(RulesObject(level=worst, rules=rules))
    else:
        click.echo(f"{in_a_table([_row(rule) for rule in rules], optional=('WHERE',))}\n\n{worst}, by {store}.")
    return SEVERITY[worst]


def _watch(asked: Asked, config: Config) -> int:
    from workers.monitor import watch

    log.configure(
        format="json" if asked.as_json or config.log_format == "json" else "text",
        level=logging.DEBUG if config.debug else logging.INFO,
        secrets=(*config.secrets, config.alert_webhook_url),
    )
    asked.ask(lambda state: watch(state, config))
    return 0


def _rules(readings: list[Reading]) -> tuple[RuleObject, ...]:
    """Every rule there is, read or not, and then what is read of many."""
    read = {reading.alert: reading for reading in readings}
    names = [*RULES, *(alert for alert in read if alert not in RULES)]
    return tuple(_rule(read[name]) if name in read else RuleObject(alert=name) for name in names)


def _rule(reading: Reading) -> RuleObject:
    return RuleObject(
        alert=reading.alert,
        level=reading.level,
        value=reading.value,
        unit=reading.unit,
        warning=reading.warning,
        critical=reading.critical,
        about=reading.about,
    )


def _row(rule: RuleObject) -> dict[str, str]:
    def shown(value: float | None) -> str:
        return "" if value is None or rule.unit is None else value_in_words(value, rule.unit)

    return {
        "ALERT": rule.alert,
        "LEVEL": rule.level or "no data",
        "VALUE": shown(rule.value),
        "WARNING": shown(rule.warning),
        "CRITICAL": shown(rule.critical),
        "WHERE": rule.about,
        "MEANING": title_of(rule.alert),
    }
