"""The settings of alerts as they are used: thresholds of the rules, and where the webhook is; all else is refused.

Filled once from ``app.config.Config``; nothing connects.
"""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from app.config import Config, SettingError
from app.domain.alert_notices import signing_key
from app.domain.alert_rules import Threshold, Thresholds

_URL: Final = "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL"
_SECRET: Final = "CLAUDE_WRAPPER_ALERT_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

_SECONDS_A_MINUTE: Final = 60


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """Who is told of alerts.

    Args:
        url: http or https; a secret.
        format: of the body.
        key: signs what is sent; ``None`` to sign nothing.
    """

    url: str
    format: Literal["json", "slack"]
    key: bytes | None


class AlertSettings(Struct, frozen=True, kw_only=True):
    """How alerts are evaluated and told.

    Args:
        interval_s: seconds from one evaluation to the next.
        window_minutes: of response time and errors: so many whole minutes, and the one that runs.
        hold_off_s: how long after an event the next one of the same alert waits.
        max_sessions: of a tenant.
        thresholds: of the rules.
        webhook: ``None`` where only the log is told.
    """

    interval_s: float
    window_minutes: int
    hold_off_s: float
    max_sessions: int
    thresholds: Thresholds
    webhook: WebhookSettings | None

    @classmethod
    def of(cls, config: Config) -> AlertSettings:
        """The part of the gateway's settings that concerns alerts.

        Raises:
            SettingError: a setting makes no sense; names the variable, and never shows the URL.
        """
        return cls(
            interval_s=config.monitor_interval_s,
            window_minutes=-(-config.alert_window_s // _SECONDS_A_MINUTE),
            hold_off_s=config.alert_hold_off_s,
            max_sessions=config.max_sessions,
            thresholds=_thresholds(config),
            webhook=_webhook(config),
        )


def check_alerts(config: Config) -> None:
    """Refuses settings of alerts that cannot be used.

    Raises:
        SettingError: as ``AlertSettings.of``.
    """
    AlertSettings.of(config)


def _thresholds(config: Config) -> Thresholds:
    return Thresholds(
        min_requests=config.alert_min_requests,
        response_time_s=_rising(config, "alert_response_time_s", "alert_response_time_critical_s"),
        error_rate=_rising(config, "alert_error_rate", "alert_error_rate_critical"),
        memory=_rising(config, "alert_memory", "alert_memory_critical"),
        sessions=_rising(config, "alert_sessions", "alert_sessions_critical"),
        budget=_rising(config, "alert_budget", "alert_budget_critical"),
        forecast_days=_falling(config, "alert_forecast_days", "alert_forecast_critical_days"),
    )


def _rising(config: Config, warning: str, critical: str) -> Threshold:
    threshold = Threshold(getattr(config, warning), getattr(config, critical))
    if threshold.warning > threshold.critical:
        raise SettingError(f"{_variable(warning)} is above {_variable(critical)}: there would be no warning.")
    return threshold


def _falling(config: Config, warning: str, critical: str) -> Threshold:
    threshold = Threshold(getattr(config, warning), getattr(config, critical))
    if threshold.warning < threshold.critical:
        raise SettingError(f"{_variable(warning)} is below {_variable(critical)}: there would be no warning.")
    return threshold


def _variable(field: str) -> str:
    return f"CLAUDE_WRAPPER_{field.upper()}"


def _webhook(config: Config) -> WebhookSettings | None:
    if not config.alert_webhook_url:
        if config.alert_webhook_secret:
            raise SettingError(f"{_SECRET} signs what is sent to {_URL}, which is not set.")
        return None
    if not _is_http_url(config.alert_webhook_url):
        raise SettingError(f"{_URL}: the given value is not accepted; it takes an http or https URL.")
    return WebhookSettings(
        url=config.alert_webhook_url,
        format=config.alert_webhook_format,
        key=_key(config.alert_webhook_secret) if config.alert_webhook_secret else None,
    )


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _key(secret: str) -> bytes:
    try:
        return signing_key(secret)
    except ValueError as exc:
        raise SettingError(f"{_SECRET}: {exc}.") from None
