"""Who evaluates the alerts, and who may read the metrics."""

from __future__ import annotations

import asyncio

import msgspec

from app.cli.announce import nobody_reads_metrics
from app.cli.checks.finding import Finding
from app.cli.checks.store import TIMEOUT_S, store_to_ask
from app.cli.instance import Instance
from app.config import Config, SettingError
from app.domain.alert_book import AlertBook
from app.errors import StateError
from app.state import connect
from app.state.alerts import read_alerts


def check_monitoring(config: Config, book: AlertBook | None, *, now: float) -> Finding:
    """Whether somebody evaluates the alerts, where that is expected.

    Args:
        config: the settings.
        book: of the alerts in the store; ``None`` where no store could be asked.
        now: Unix seconds.
    """
    if book is not None and book.is_kept_up(now, interval_s=config.monitor_interval_s):
        return Finding.ok("monitoring", f"{book.leader} evaluates the alerts")
    if config.health_monitoring:
        return Finding.ok("monitoring", "a worker of this gateway evaluates the alerts, or another replica's")
    if not config.alert_webhook_url and not _has_own_thresholds(config):
        return Finding.skip("monitoring", "nobody evaluates alerts: neither thresholds nor a webhook are set")
    what = "a webhook is set" if config.alert_webhook_url else "settings of alerts are set"
    return Finding.warn(
        "monitoring",
        f"{what}, and nobody evaluates the alerts",
        "Set --health-monitoring (CLAUDE_WRAPPER_HEALTH_MONITORING=true), or run 'claude-wrapper monitor'.",
    )


def check_metrics(config: Config) -> Finding:
    """Whether somebody can read the metrics."""
    if config.metrics == "off":
        return Finding.skip("metrics", "/metrics is switched off: CLAUDE_WRAPPER_METRICS=off")
    if nobody_reads_metrics(config):
        return Finding.warn(
            "metrics",
            "/metrics answers 401: CLAUDE_WRAPPER_METRICS=admin, and there is no key that has the scope admin",
            "Set CLAUDE_WRAPPER_ADMIN_KEY (CLAUDE_WRAPPER_REQUIRE_KEY=no keeps the rest open), or "
            "CLAUDE_WRAPPER_METRICS=open.",
        )
    return Finding.ok("metrics", "everybody may read them" if config.metrics == "open" else "for the scope admin only")


def latest_book(config: Config, instance: Instance) -> AlertBook | None:
    """The alerts as they were evaluated last; ``None`` where no store can be asked."""
    url = store_to_ask(config, instance)
    return None if url is None else asyncio.run(_read(url))


async def _read(url: str) -> AlertBook | None:
    try:
        connection = connect(url, timeout_s=TIMEOUT_S, client_name="claude-wrapper-doctor")
    except SettingError:  # said by the check of the store, as is what follows
        return None
    try:
        return await read_alerts(connection)
    except StateError:
        return None
    finally:
        await connection.close()


def _has_own_thresholds(config: Config) -> bool:
    defaults = Config()
    names = [field for field in msgspec.structs.fields(Config) if field.name.startswith("alert_")]
    return any(getattr(config, field.name) != getattr(defaults, field.name) for field in names)
