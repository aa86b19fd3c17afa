"""The wire of ``GET /v1/usage``: limits, what is left of them, and spend by day and model.

Money is US dollars, as a number; times and dates are RFC 3339, days are those of UTC. A limit that is not set is null.
How the numbers come about is decided in ``domain/usage_report.py``.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class RateUsage(Struct, frozen=True, kw_only=True):
    """A rate, which refills evenly.

    Args:
        limit: a minute.
        remaining: left at this moment.
        reset_s: seconds until all of it is back.
    """

    limit: int
    remaining: int
    reset_s: float


class ConcurrencyUsage(Struct, frozen=True, kw_only=True):
    """Requests in flight.

    Args:
        limit: at the same time.
        in_use: at this moment.
    """

    limit: int
    in_use: int


class BudgetUsage(Struct, frozen=True, kw_only=True):
    """A budget, in US dollars.

    Args:
        limit: of the day, of the calendar month or in all.
        spent: of it, by requests that are over.
        reserved: held for requests that run, at what they may cost at most.
        remaining: what is left.
        resets_at: when it begins anew; null never.
    """

    limit: float
    spent: float
    reserved: float
    remaining: float
    resets_at: dt.datetime | None


class UsageLimits(Struct, frozen=True, kw_only=True):
    """All limits; null is unlimited.

    Args:
        requests_per_minute: requests.
        input_tokens_per_minute: input tokens; what is read from the prompt cache does not count.
        output_tokens_per_minute: output tokens.
        concurrency: requests in flight.
        budget_day: of a day (UTC).
        budget_month: of a calendar month (UTC).
        budget_total: in all.
    """

    requests_per_minute: RateUsage | None
    input_tokens_per_minute: RateUsage | None
    output_tokens_per_minute: RateUsage | None
    concurrency: ConcurrencyUsage | None
    budget_day: BudgetUsage | None
    budget_month: BudgetUsage | None
    budget_total: BudgetUsage | None


class UsageKey(Struct, frozen=True, kw_only=True):
    """Whose limits and usage these are.

    Args:
        id: names it in logs and lists.
        name: for people; of a token its subject, null where there is none.
        source: how it is known: stored, file (the keys file), jwt, static, admin, byok (an Anthropic key of the
            client's own) or anonymous; null where an id is asked for that nothing is known of but its usage.
        scopes: what it may do; empty where it says that itself, as a token does.
        models: names or patterns of models it may use; empty means all.
        expires_at: when it ends; null never, and for a token, which says it itself.
    """

    id: str
    name: str | None
    source: Literal["anonymous", "static", "admin", "stored", "file", "jwt", "byok"] | None
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    expires_at: dt.datetime | None


class UsageSpend(Struct, frozen=True, kw_only=True):
    """US dollars spent, on this day and in this calendar month (UTC), and in all."""

    day: float
    month: float
    total: float


class ModelUsage(Struct, frozen=True, kw_only=True):
    """What was used of one model on one day.

    Args:
        model: its id.
        requests: requests that reached Anthropic.
        cached_requests: answers from the response cache, or from the call of another request; they cost nothing.
        input_tokens: neither read from nor written to the prompt cache.
        cache_read_tokens: input read from the prompt cache.
        cache_write_tokens: input written to the prompt cache.
        output_tokens: output tokens.
        cost: US dollars.
        estimated_cost: of it, what Anthropic has not told, as the client or the connection was gone.
    """

    model: str
    requests: int
    cached_requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost: float
    estimated_cost: float


class DayUsage(Struct, frozen=True, kw_only=True):
    """What was used on one day (UTC). A request counts on the day on which it ended.

    Args:
        date: the day.
        requests: requests that reached Anthropic.
        cached_requests: answers from the response cache, or from the call of another request; they cost nothing.
        input_tokens: neither read from nor written to the prompt cache.
        cache_read_tokens: input read from the prompt cache.
        cache_write_tokens: input written to the prompt cache.
        output_tokens: output tokens.
        cost: US dollars.
        estimated_cost: of it, what Anthropic has not told, as the client or the connection was gone.
        models: the same by model, the dearest first.
    """

    date: dt.date
    requests: int
    cached_requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost: float
    estimated_cost: float
    models: tuple[ModelUsage, ...]


class UsageReport(Struct, frozen=True, kw_only=True):
    """Limits and usage of a key, or of a tenant over all its keys.

    Args:
        tenant: name of the tenant.
        key: whose usage it is; absent for a tenant.
        limits: limits of the key, defaults included; absent for a tenant.
        tenant_limits: limits of the tenant over all its keys; null where it has none.
        spend: of the key; for a tenant, of all its keys.
        estimated_share: which part of the cost of the listed days is estimated, 0 to 1; absent for a tenant.
        days: usage of the key, the newest day first; absent for a tenant.
    """

    object: Literal["usage"] = "usage"
    tenant: str
    key: UsageKey | UnsetType = UNSET
    limits: UsageLimits | UnsetType = UNSET
    tenant_limits: UsageLimits | None
    spend: UsageSpend
    estimated_share: float | UnsetType = UNSET
    days: tuple[DayUsage, ...] | UnsetType = UNSET
