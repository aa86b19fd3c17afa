"""Alerts in words, for people: one sentence for an event, one word or two for a value; pure. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.domain.alert_rules import (
    BUDGET,
    CREDENTIAL,
    ERROR_RATE,
    FORECAST_MEMORY,
    FORECAST_SESSIONS,
    MEMORY,
    RESPONSE_TIME,
    SESSIONS,
    STORE_AWAY,
    STORE_MEMORY,
)
from app.domain.alerts import NO_DATA_AFTER_S, AlertEvent, Level, Unit
from app.domain.forecast import NEVER_DAYS

_TITLES: Final[Mapping[str, str]] = {
    RESPONSE_TIME: "mean response time",
    ERROR_RATE: "share of failed requests",
    MEMORY: "memory of the fullest replica",
    STORE_MEMORY: "memory of the state store",
    SESSIONS: "sessions of the fullest tenant",
    FORECAST_SESSIONS: "at the present trend a tenant has all its sessions",
    FORECAST_MEMORY: "at the present trend memory is full",
}

_PREFIX: Final[Mapping[Level, str]] = {"ok": "Resolved", "warning": "Warning", "critical": "Critical"}


def event_in_words(event: AlertEvent) -> str:
    """One sentence: ``Critical: share of failed requests: 12.5 % (threshold 10 %)``, and a period."""
    where = f" ({event.about})" if event.about else ""
    return f"{_PREFIX[event.level]}: {_what(event)}{where}."


def value_in_words(value: float, unit: Unit) -> str:
    """A value with its unit: ``2.35 s``, ``12.5 %``, ``3.2 days``, ``yes``."""
    match unit:
        case "s":
            return f"{value:.3g} s"
        case "share":
            return f"{100 * value:.3g} %"
        case "days":
            return "never" if value >= NEVER_DAYS else f"{value:.3g} days"
    return "yes" if value else "no"


def _what(event: AlertEvent) -> str:
    rule, _, about = event.alert.partition(":")
    resolved = event.level == "ok"
    if event.no_data:
        return f"{title_of(event.alert)}: nothing to read for {NO_DATA_AFTER_S / 60:.0f} minutes"
    if rule == STORE_AWAY:
        return "the state store is back" if resolved else "the state store is away"
    if rule == CREDENTIAL:
        return f"Anthropic takes the key {about} again" if resolved else f"Anthropic refuses the key {about}"
    value = value_in_words(event.value, event.unit)
    threshold = value_in_words(event.threshold, event.unit)
    within = "within " if event.unit == "days" and event.value < NEVER_DAYS else ""
    return f"{title_of(event.alert)}: {within}{value} (threshold {threshold})"


def title_of(alert: str) -> str:
    """What an alert is about: ``spend of acme/k1 a month, of its budget``."""
    rule, _, about = alert.partition(":")
    if rule == BUDGET:
        owner, _, period = about.rpartition(":")
        return f"spend of {owner} " + ("in all" if period == "total" else f"a {period}") + ", of its budget"
    if rule == CREDENTIAL:
        return f"Anthropic key {about}"
    return _TITLES.get(rule, rule.replace("_", " "))
