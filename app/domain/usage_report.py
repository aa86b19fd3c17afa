"""From how an account stands to what ``GET /v1/usage`` answers; pure.

Money comes in integer nano-dollars and goes out in US dollars. Days count from 1970 and months from year 0, both in
UTC, as the store keeps them. The wire is ``schemas/usage.py``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec import Struct

from app.domain.auth import ApiKey, Caller, Source
from app.domain.limits import NANO_PER_USD, NO_LIMITS, Gauge, Limits
from app.schemas.usage import (
    BudgetUsage,
    ConcurrencyUsage,
    DayUsage,
    ModelUsage,
    RateUsage,
    UsageKey,
    UsageLimits,
    UsageReport,
    UsageSpend,
)

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


class Standing(Struct, frozen=True, kw_only=True):
    """How a key or a tenant stands at one moment.

    Args:
        limits: what it may use.
        requests: how its rate of requests stands; ``None`` without a limit.
        input_tokens: the same for input tokens.
        output_tokens: the same for output tokens.
        in_flight: requests that run; of a key only counted where it has a limit of concurrency.
        day: the day of ``day_nano``, since 1970.
        day_nano: nano-dollars spent on it.
        month: the month of ``month_nano``, since year 0.
        month_nano: nano-dollars spent in it.
        total_nano: nano-dollars spent in all.
        reserved_nano: nano-dollars held for requests that run.
    """

    limits: Limits
    requests: Gauge | None = None
    input_tokens: Gauge | None = None
    output_tokens: Gauge | None = None
    in_flight: int = 0
    day: int
    day_nano: int = 0
    month: int
    month_nano: int = 0
    total_nano: int = 0
    reserved_nano: int = 0


class Counts(Struct, frozen=True, kw_only=True):
    """What was used; the fields of ``Use``, with the nano-dollars that were estimated. A correction may be negative."""

    requests: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    nano: int = 0
    estimated_nano: int = 0


class AccountReading(Struct, frozen=True, kw_only=True):
    """An account at one moment of the store's clock.

    Args:
        key: the key; the tenant once more, where a tenant is asked for.
        tenant: its tenant.
        record: the stored key, where there is one.
        today: days since 1970.
        days: usage of the key by model: of today, of the day before, and so on.
    """

    key: Standing
    tenant: Standing
    record: ApiKey | None = None
    today: int
    days: tuple[Mapping[str, Counts], ...] = ()


def report_of_key(tenant: str, key: UsageKey, reading: AccountReading) -> UsageReport:
    """The usage of a key, or of another caller.

    Args:
        tenant: name of its tenant.
        key: whose usage it is.
        reading: how it stands.
    """
    used = [counts for day in reading.days for counts in day.values()]
    cost, estimated = sum(counts.nano for counts in used), sum(counts.estimated_nano for counts in used)
    return UsageReport(
        tenant=tenant,
        key=key,
        limits=_limits(reading.key),
        tenant_limits=_limits_if_any(reading.tenant),
        spend=_spend(reading.key),
        estimated_share=round(estimated / cost, 6) if cost > 0 else 0.0,
        days=tuple(_day(reading.today - ago, models) for ago, models in enumerate(reading.days)),
    )


def report_of_tenant(tenant: str, reading: AccountReading) -> UsageReport:
    """Limits and spend of a tenant over all its keys."""
    return UsageReport(tenant=tenant, tenant_limits=_limits_if_any(reading.tenant), spend=_spend(reading.tenant))


def shown_caller(caller: Caller, record: ApiKey | None) -> UsageKey:
    """A caller as the report names it.

    Args:
        caller: who asks.
        record: its key, where it is one of the store or of the keys file.
    """
    return UsageKey(
        id=caller.key_id,
        name=record.name if record is not None else caller.subject or None,
        source=caller.source,
        scopes=caller.scopes,
        models=caller.models,
        expires_at=_expiry(record),
    )


def shown_key(key: ApiKey, source: Source) -> UsageKey:
    """A key of the store or of the keys file as the report names it."""
    return UsageKey(
        id=key.id,
        name=key.name,
        source=source,
        scopes=key.scopes,
        models=key.models,
        expires_at=_expiry(key),
    )


def shown_id(tenant: str, key_id: str) -> UsageKey:
    """Somebody of whom there is no record, as the report names them: a token, a client's own key, the static key."""
    source = _NAMED.get((tenant, key_id)) or next(
        (source for beginning, source in _BEGINNINGS.items() if key_id.startswith(beginning)), None
    )
    return UsageKey(id=key_id, name=None, source=source, scopes=(), models=(), expires_at=None)


#: Tenant and id of those who have no record of their own, and what their ids begin with.
_NAMED: Final[dict[tuple[str, str], Source]] = {
    ("default", "static"): "static",
    ("admin", "admin"): "admin",
    ("anonymous", "anonymous"): "anonymous",
}
_BEGINNINGS: Final[dict[str, Source]] = {"jwt-": "jwt", "byok-": "byok"}


def _expiry(key: ApiKey | None) -> dt.datetime | None:
    if key is None or key.expires_at is None:
        return None
    return dt.datetime.fromtimestamp(round(key.expires_at, 3), dt.UTC)


# Limits


def _limits_if_any(standing: Standing) -> UsageLimits | None:
    return None if standing.limits == NO_LIMITS else _limits(standing)


def _limits(standing: Standing) -> UsageLimits:
    limits = standing.limits
    tomorrow, next_month = _midnight(standing.day + 1), _first_of(standing.month + 1)
    return UsageLimits(
        requests_per_minute=_rate(standing.requests),
        input_tokens_per_minute=_rate(standing.input_tokens),
        output_tokens_per_minute=_rate(standing.output_tokens),
        concurrency=_concurrency(limits.concurrency, standing.in_flight),
        budget_day=_budget(limits.budget_day_nano, standing.day_nano, standing.reserved_nano, tomorrow),
        budget_month=_budget(limits.budget_month_nano, standing.month_nano, standing.reserved_nano, next_month),
        budget_total=_budget(limits.budget_total_nano, standing.total_nano, standing.reserved_nano, None),
    )


def _rate(gauge: Gauge | None) -> RateUsage | None:
    if gauge is None:
        return None
    return RateUsage(limit=gauge.limit, remaining=gauge.left, reset_s=round(gauge.full_in_s, 3))


def _concurrency(limit: int | None, in_use: int) -> ConcurrencyUsage | None:
    return None if limit is None else ConcurrencyUsage(limit=limit, in_use=in_use)


def _budget(limit: int | None, spent: int, reserved: int, resets_at: dt.datetime | None) -> BudgetUsage | None:
    if limit is None:
        return None
    return BudgetUsage(
        limit=_usd(limit),
        spent=_usd(spent),
        reserved=_usd(reserved),
        remaining=_usd(max(0, limit - spent - reserved)),
        resets_at=resets_at,
    )


# Spend


def _spend(standing: Standing) -> UsageSpend:
    return UsageSpend(day=_usd(standing.day_nano), month=_usd(standing.month_nano), total=_usd(standing.total_nano))


def _day(day: int, models: Mapping[str, Counts]) -> DayUsage:
    dearest_first = sorted(models.items(), key=lambda entry: (-entry[1].nano, entry[0]))
    return DayUsage(
        date=_date(day),
        models=tuple(_model(model, counts) for model, counts in dearest_first),
        **_shown(_sum(models.values())),
    )


def _model(model: str, counts: Counts) -> ModelUsage:
    return ModelUsage(model=model, **_shown(counts))


def _sum(parts: Collection[Counts]) -> Counts:
    return Counts(**{name: sum(getattr(part, name) for part in parts) for name in Counts.__struct_fields__})


def _shown(counts: Counts) -> dict[str, Any]:
    """The fields that ``DayUsage`` and ``ModelUsage`` share."""
    return {
        "requests": counts.requests,
        "cached_requests": counts.cache_hits,
        "input_tokens": counts.input_tokens,
        "cache_read_tokens": counts.cache_read_tokens,
        "cache_write_tokens": counts.cache_write_tokens,
        "output_tokens": counts.output_tokens,
        "cost": _usd(counts.nano),
        "estimated_cost": _usd(counts.estimated_nano),
    }


# Units


def _usd(nano: int) -> float:
    return nano / NANO_PER_USD


def _date(day: int) -> dt.date:
    return dt.date.fromordinal(_EPOCH + day)


def _midnight(day: int) -> dt.datetime:
    return dt.datetime.combine(_date(day), dt.time(), dt.UTC)


def _first_of(month: int) -> dt.datetime:
    year, number = divmod(month, 12)
    return dt.datetime(year, number + 1, 1, tzinfo=dt.UTC)
