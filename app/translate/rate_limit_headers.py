"""Rate limits as OpenAI's headers: Anthropic's, and the gateway's own.

Source: spec/errors-and-headers.md, "Rate-limit headers".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from app.domain.limits import Gauge

_MS_PER_MINUTE = 60_000
_MS_PER_HOUR = 3_600_000


def to_openai(headers: Mapping[str, str], now: float) -> dict[str, str]:
    """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` from ``anthropic-ratelimit-*``.

    Args:
        headers: Anthropic's reply headers, names in lower case; what is missing or unreadable is left out.
        now: Unix seconds; OpenAI tells durations where Anthropic tells times.
    """
    mapped: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        for what in ("limit", "remaining"):
            count = headers.get(f"anthropic-ratelimit-{kind}-{what}", "")
            if count.isdecimal():
                mapped[f"x-ratelimit-{what}-{kind}"] = count
        reset_at = _unix_seconds(headers.get(f"anthropic-ratelimit-{kind}-reset", ""))
        if reset_at is not None:
            mapped[f"x-ratelimit-reset-{kind}"] = go_duration(reset_at - now)
    return mapped


def own_headers(requests: Gauge | None, tokens: Gauge | None) -> dict[str, str]:
    """The same headers for the gateway's own rates, where there are some; they win over Anthropic's.

    Args:
        requests: how the rate of requests stands.
        tokens: how those of tokens stand, input and output together.
    """
    headers: dict[str, str] = {}
    for kind, gauge in (("requests", requests), ("tokens", tokens)):
        if gauge is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(gauge.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(gauge.left)
            headers[f"x-ratelimit-reset-{kind}"] = go_duration(gauge.full_in_s)
    return headers


def go_duration(seconds: float) -> str:
    """A duration as Go writes it, to the millisecond: ``547ms``, ``1s``, ``2m52.8s``, ``6m0s``; never negative."""
    left_ms = max(0, math.ceil(round(seconds * 1000, 3)))
    if 0 < left_ms < 1000:
        return f"{left_ms}ms"
    hours, left_ms = divmod(left_ms, _MS_PER_HOUR)
    minutes, left_ms = divmod(left_ms, _MS_PER_MINUTE)
    text = f"{left_ms / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _unix_seconds(rfc3339: str) -> float | None:
    try:
        at = datetime.fromisoformat(rfc3339)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.timestamp()
