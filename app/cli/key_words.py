"""API keys in words, for people: one key, and a table of many."""

from __future__ import annotations

from collections.abc import Sequence

from app.cli.tables import cut, day_and_time, in_a_table, in_lines
from app.domain.auth import ApiKey
from app.domain.caching import CacheRule
from app.domain.key_objects import status_of
from app.domain.limits import NANO_PER_USD, Limits

#: Columns that a table has only where a key fills them.
_OPTIONAL = frozenset({"MODELS", "CACHE", "EXPIRES"})
_NAME_CELLS = 32
_MODELS_CELLS = 40

_RATES = {
    "requests_per_minute": "req/min",
    "input_tokens_per_minute": "in/min",
    "output_tokens_per_minute": "out/min",
    "concurrency": "at once",
}
_BUDGETS = {"budget_day_nano": "/day", "budget_month_nano": "/month", "budget_total_nano": " in all"}


def key_in_words(key: ApiKey, *, now: float, store: str = "") -> str:
    """Everything about a key, a line for each thing; where it is kept, where that is given."""
    told = {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "status": status_of(key, now=now),
        "scopes": ", ".join(key.scopes),
        "models": ", ".join(key.models) or "all",
        "limits": limits_in_words(key.limits) or "the deployment's defaults",
        "cache": cache_in_words(key.cache) or "the deployment's settings",
        "outage": key.outage or "the deployment's policy",
        "created": day_and_time(key.created_at),
        "expires": "never" if key.expires_at is None else day_and_time(key.expires_at),
        "revoked": "" if key.revoked_at is None else day_and_time(key.revoked_at),
        "old key until": _old_until(key, now),
        "metadata": ", ".join(f"{name}={value}" for name, value in key.metadata.items()),
        "version": str(key.version),
        "store": store,
    }
    return in_lines(told)


def keys_in_a_table(keys: Sequence[ApiKey], *, now: float) -> str:
    """Many keys, a line for each, by tenant and name."""
    rows = [_row(key, now) for key in sorted(keys, key=lambda key: (key.tenant, key.name, key.id))]
    return in_a_table(rows, optional=_OPTIONAL)


def limits_in_words(limits: Limits) -> str:
    """``60 req/min, 5 at once, $2.50/day``; empty without any."""
    rates = [f"{value} {word}" for name, word in _RATES.items() if (value := getattr(limits, name)) is not None]
    budgets = [
        f"${_dollars(value)}{word}" for name, word in _BUDGETS.items() if (value := getattr(limits, name)) is not None
    ]
    return ", ".join(rates + budgets)


def cache_in_words(rule: CacheRule) -> str:
    """``on, 600 s, shared within tenant``; empty where nothing is set."""
    ttl = "" if rule.ttl_s is None else f"{rule.ttl_s} s"
    sharing = "" if rule.share_within is None else f"shared within {rule.share_within}"
    return ", ".join(word for word in (rule.mode, ttl, sharing) if word)


def _dollars(nano: int) -> str:
    """``2.5``, ``0.000000001``: never with an exponent."""
    whole, rest = divmod(nano, NANO_PER_USD)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _row(key: ApiKey, now: float) -> dict[str, str]:
    return {
        "ID": key.id,
        "TENANT": key.tenant,
        "NAME": cut(key.name, _NAME_CELLS),
        "STATUS": status_of(key, now=now),
        "MODELS": cut(", ".join(key.models), _MODELS_CELLS),
        "LIMITS": limits_in_words(key.limits),
        "CACHE": cache_in_words(key.cache),
        "EXPIRES": "" if key.expires_at is None else day_and_time(key.expires_at),
        "CREATED": day_and_time(key.created_at),
    }


def _old_until(key: ApiKey, now: float) -> str:
    return day_and_time(key.previous_until) if key.previous_until > now and key.revoked_at is None else ""
