"""What a window of time tells beside the one before it, and what of that is a regression; pure.

A regression is marked where something became worse by more than chance and the precision of the histograms explain:

- times: at least ``SLOWER_SHARE`` longer and ``SLOWER_S`` longer,
- error rate: at least ``MORE_ERRORS`` higher,
- hit rate of the response cache: at least ``FEWER_HITS`` lower,

each with at least ``ENOUGH`` requests behind it in both windows. More or fewer requests, tokens and dollars are no
regression: they are the clients' doing.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.domain.buckets import Bucket, Timing

#: Requests in both windows from which on a difference says something.
ENOUGH: Final = 20
#: A histogram is right within 19 % (``app.domain.histograms``).
SLOWER_SHARE: Final = 0.2
#: What nobody notices is not marked.
SLOWER_S: Final = 0.01
#: One percentage point.
MORE_ERRORS: Final = 0.01
#: Ten percentage points.
FEWER_HITS: Final = 0.1


class Trend(Struct, frozen=True, kw_only=True):
    """One figure in a window and in the one before.

    Args:
        now: in the window.
        before: in the one before it.
        change: from before to now, as a share of before; ``None`` where that was 0.
        regression: it became worse.
    """

    now: float
    before: float
    change: float | None
    regression: bool = False


class Trends(Struct, frozen=True, kw_only=True):
    """A window beside the one before. Rates are by the minute that has passed of each, money is in nano-dollars."""

    requests_per_minute: Trend
    tokens_per_minute: Trend
    nano_per_minute: Trend
    response_mean_s: Trend
    response_p95_s: Trend
    first_token_p95_s: Trend
    error_rate: Trend
    cache_hit_rate: Trend


def trends(now: Bucket, before: Bucket) -> Trends:
    """How a window compares with the one before.

    Args:
        now: the window, as one bucket.
        before: the one before it; it may be of another length.
    """
    return Trends(
        requests_per_minute=_rate(now, before, now.requests, before.requests),
        tokens_per_minute=_rate(now, before, sum(now.tokens.values()), sum(before.tokens.values())),
        nano_per_minute=_rate(now, before, now.nano, before.nano),
        response_mean_s=_mean(now.response, before.response),
        response_p95_s=_p95(now.response, before.response),
        first_token_p95_s=_p95(now.first_token, before.first_token),
        error_rate=_errors(now, before),
        cache_hit_rate=_hits(now, before),
    )


def _trend(now: float, before: float, *, regression: bool = False) -> Trend:
    change = (now - before) / before if before else None
    return Trend(now=now, before=before, change=change, regression=regression)


def _rate(now: Bucket, before: Bucket, count: int, count_before: int) -> Trend:
    return _trend(now.per_minute(count), before.per_minute(count_before))


def _mean(now: Timing, before: Timing) -> Trend:
    return _time(now, before, now.mean_s, before.mean_s)


def _p95(now: Timing, before: Timing) -> Trend:
    return _time(now, before, now.percentile_s(0.95), before.percentile_s(0.95))


def _time(now: Timing, before: Timing, now_s: float, before_s: float) -> Trend:
    is_slower = now_s >= before_s * (1 + SLOWER_SHARE) and now_s - before_s >= SLOWER_S
    return _trend(now_s, before_s, regression=is_slower and min(now.count, before.count) >= ENOUGH)


def _errors(now: Bucket, before: Bucket) -> Trend:
    is_worse = now.error_rate - before.error_rate >= MORE_ERRORS
    regression = is_worse and min(now.requests, before.requests) >= ENOUGH
    return _trend(now.error_rate, before.error_rate, regression=regression)


def _hits(now: Bucket, before: Bucket) -> Trend:
    is_worse = before.cache_hit_rate - now.cache_hit_rate >= FEWER_HITS
    regression = is_worse and min(now.cache_lookups, before.cache_lookups) >= ENOUGH
    return _trend(now.cache_hit_rate, before.cache_hit_rate, regression=regression)
