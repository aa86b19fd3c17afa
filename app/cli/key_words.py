"""API keys in words, for people: one key, and a table of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app.domain.auth import ApiKey
from app.domain.key_objects import status_of
from app.domain.limits import NANO_PER_USD, Limits

_TABLE = ("ID", "TENANT", "NAME", "STATUS", "LIMITS", "CREATED")
_NAME_CHARS = 32

_RATES = {
    "requests_per_minute": "req/min",
    "input_tokens_per_minute": "in/min",
    "output_tokens_per_minute": "out/min",
    "concurrency": "at once",
}
_BUDGETS = {"budget_day_nano": "day", "budget_month_nano": "month", "budget_total_nano": "total"}


def key_in_words(key: ApiKey, *, now: float) -> str:
    """Everything about a key, a line for each thing."""
    rows = {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "status": status_of(key, now=now),
        "scopes": ", ".join(key.scopes),
        "models": ", ".join(key.models) or "all",
        "limits": limits_in_words(key.limits) or "the deployment's defaults",
        "outage": key.outage or "the deployment's policy",
        "created": _day_and_time(key.created_at),
        "expires": "never" if key.expires_at is None else _day_and_time(key.expires_at),
        "revoked": "" if key.revoked_at is None else _day_and_time(key.revoked_at),
        "old key until": _day_and_time(key.previous_until) if key.previous_until > now else "",
        "metadata": ", ".join(f"{name}={value}" for name, value in key.metadata.items()),
        "version": str(key.version),
    }
    return "\n".join(f"  {name:<15}{value}" for name, value in rows.items() if value)


def keys_in_a_table(keys: Sequence[ApiKey], *, now: float) -> str:
    """Many keys, a line for each."""
    rows = [_TABLE, *(_row(key, now) for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TABLE))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def limits_in_words(limits: Limits) -> str:
    """``60 req/min, 5 at once, $2.50/day``; empty without any."""
    rates = [f"{value} {word}" for name, word in _RATES.items() if (value := getattr(limits, name)) is not None]
    budgets = [
        f"${value / NANO_PER_USD:.9g}/{word}"
        for name, word in _BUDGETS.items()
        if (value := getattr(limits, name)) is not None
    ]
    return ", ".join(rates + budgets)


def _row(key: ApiKey, now: float) -> tuple[str, ...]:
    name = key.name if len(key.name) <= _NAME_CHARS else key.name[: _NAME_CHARS - 3] + "..."
    limits = limits_in_words(key.limits) or "-"
    return (key.id, key.tenant, name, status_of(key, now=now), limits, _day_and_time(key.created_at))


def _day_and_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
