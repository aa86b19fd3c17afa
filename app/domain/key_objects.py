"""API keys as they are shown: the objects of the admin routes, and what of a change goes into the audit; pure.

Nothing here carries a hash or a secret. The wire is ``schemas/admin.py``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from app.domain.auth import ApiKey
from app.domain.caching import CacheRule
from app.domain.key_changes import KeyChange
from app.domain.limits import NANO_PER_USD, Limits
from app.schemas.admin import CacheObject, KeyChangeObject, KeyObject, LimitsObject

#: Of every change, or not a property of the key.
_NOT_AUDITED: Final = frozenset({"object", "id", "tenant", "limits", "cache", "version", "status", "created_at"})


def status_of(key: ApiKey, *, now: float) -> Literal["active", "expired", "revoked"]:
    """Whether a key is good at ``now``, in Unix seconds."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "active"


def key_object(key: ApiKey, *, now: float) -> KeyObject:
    """A key as the admin routes answer it, at ``now`` in Unix seconds."""
    return KeyObject(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        scopes=key.scopes,
        models=key.models,
        limits=limits_object(key.limits),
        outage=key.outage,
        cache=cache_object(key.cache),
        created_at=_time(key.created_at),
        expires_at=_time_or_null(key.expires_at),
        revoked_at=_time_or_null(key.revoked_at),
        old_key_until=_time_or_null(key.previous_until or None) if key.revoked_at is None else None,
        version=key.version,
        status=status_of(key, now=now),
        metadata=key.metadata,
    )


def limits_object(limits: Limits) -> LimitsObject:
    """Limits by their names on the wire, budgets in US dollars."""
    return LimitsObject(
        requests_per_minute=limits.requests_per_minute,
        input_tokens_per_minute=limits.input_tokens_per_minute,
        output_tokens_per_minute=limits.output_tokens_per_minute,
        concurrency=limits.concurrency,
        budget_day=_usd(limits.budget_day_nano),
        budget_month=_usd(limits.budget_month_nano),
        budget_total=_usd(limits.budget_total_nano),
    )


def cache_object(rule: CacheRule) -> CacheObject:
    """What a key says of its cache, by its names on the wire."""
    return CacheObject(mode=rule.mode, ttl=rule.ttl_s, share_within=rule.share_within)


def changes_between(before: ApiKey | None, after: ApiKey) -> dict[str, Any]:
    """What a change has changed: field -> ``{"from": ..., "to": ...}``, by the names of the wire.

    Args:
        before: the key before; ``None`` for a new one, of which all that is set is a change.
        after: the key after.
    """
    old, new = _audited(before) if before is not None else {}, _audited(after)
    return {
        name: {"from": old.get(name), "to": value}
        for name, value in new.items()
        if value != (old.get(name) if before is not None else None)
    }


def change_object(entry_id: str, change: KeyChange) -> KeyChangeObject:
    """An entry of the audit as ``GET /admin/audit`` answers it."""
    return KeyChangeObject(
        id=entry_id,
        at=_time(change.at),
        actor=change.actor,
        action=change.action,
        key_id=change.key_id,
        tenant=change.tenant,
        changes=change.changes,
    )


def _audited(key: ApiKey) -> dict[str, Any]:
    """The properties of a key, flat."""
    shown = key_object(key, now=0.0)
    properties: dict[str, Any] = msgspec.to_builtins(shown)
    inner = {f"{outer}.{name}": value for outer in ("limits", "cache") for name, value in properties[outer].items()}
    return {name: value for name, value in properties.items() if name not in _NOT_AUDITED} | inner


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(round(at, 3), UTC)


def _time_or_null(at: float | None) -> datetime | None:
    return None if at is None else _time(at)


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO_PER_USD
