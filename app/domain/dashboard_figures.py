"""From buckets and alerts to what the dashboard shows of them; pure.

A figure is null where there was nothing to measure: a minute without requests has no response time, not a short one.
Source: DESIGN.md section 9; names: ``app.schemas.dashboard``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from app.domain import minutes
from app.domain.alert_words import event_in_words
from app.domain.alerts import AlertEvent, AlertState
from app.domain.buckets import Bucket, Timing, total
from app.domain.limits import NANO_PER_USD
from app.domain.trends import Trend, trends
from app.schemas import dashboard as wire

#: Share of the requests that should not fail on the gateway's side or Anthropic's.
OBJECTIVE: Final = 0.999
#: Tenants and models that are listed by name; what further ones have cost is one entry.
MOST_SPENDERS: Final = 20

_MS: Final = 1000.0


def performance(
    now: Sequence[Bucket], before: Sequence[Bucket], *, whole: Bucket, step_s: int, requests_per_minute_now: float
) -> wire.Performance:
    """Requests in a window.

    Args:
        now: its minutes or hours, oldest first; the last one may not be over.
        before: as many before it.
        whole: the window as one bucket.
        step_s: seconds of one of them.
        requests_per_minute_now: what the workers say of themselves.
    """
    whole_before = total(before)
    minutes_passed = whole.seconds / 60
    return wire.Performance(
        avg_response_time=_ms(whole.response.mean_s, whole.response),
        response=_times(whole.response),
        first_token=_times(whole.first_token),
        requests=whole.requests,
        requests_per_minute=_rounded(whole.requests_per_minute),
        requests_per_minute_now=_rounded(requests_per_minute_now),
        tokens=_tokens(whole, 1.0),
        tokens_per_minute=_tokens(whole, 1 / minutes_passed if minutes_passed else 0.0),
        streams=whole.streams,
        errors=whole.errors,
        broken=whole.broken,
        client_errors=whole.client_errors,
        refused=whole.refused,
        error_rate=_share(whole.errors, whole.requests),
        availability=availability(whole),
        cache=_cache(whole),
        cost_usd=usd(whole.nano),
        models=_models(whole),
        series=[_point(bucket, step_s) for bucket in now],
        before=[
            wire.PointBefore(requests=bucket.requests, p95_ms=_ms(bucket.response.percentile_s(0.95), bucket.response))
            for bucket in before
        ],
        trend=_changes(whole, whole_before),
    )


def availability(bucket: Bucket) -> wire.Availability:
    """How many requests did not fail, beside how many should not."""
    if not bucket.requests:
        return wire.Availability(share=None, objective=OBJECTIVE, met=None, budget_left=None)
    allowed = (1 - OBJECTIVE) * bucket.requests
    return wire.Availability(
        share=bucket.availability,
        objective=OBJECTIVE,
        met=bucket.availability >= OBJECTIVE,
        budget_left=_rounded(1 - bucket.errors / allowed),
    )


def spend(bucket: Bucket) -> wire.Spend:
    """What the calls of Claude of a window have cost."""
    return wire.Spend(
        total_usd=usd(bucket.nano),
        by_tenant=_spenders(bucket.nano_of_tenant, bucket.nano),
        by_model=_spenders(bucket.nano_of_model, bucket.nano),
    )


def response_times(last: Sequence[Bucket]) -> list[wire.ResponseTime]:
    """Response times by minute, oldest first."""
    return [
        wire.ResponseTime(
            at=bucket.start_at,
            requests=bucket.requests,
            mean_ms=_ms(bucket.response.mean_s, bucket.response),
            p50_ms=_ms(bucket.response.percentile_s(0.5), bucket.response),
            p95_ms=_ms(bucket.response.percentile_s(0.95), bucket.response),
            p99_ms=_ms(bucket.response.percentile_s(0.99), bucket.response),
        )
        for bucket in last
    ]


def failure_kinds(failures: Sequence[wire.RequestFailure]) -> list[wire.FailureKind]:
    """Failures by what was wrong, most first.

    Args:
        failures: newest first.
    """
    alike: dict[tuple[int, bool, str], list[wire.RequestFailure]] = {}
    for failure in failures:
        alike.setdefault((failure.status, failure.broken, failure.code), []).append(failure)
    kinds = [
        wire.FailureKind(status=status, broken=broken, code=code, count=len(of_kind), at=of_kind[0].at)
        for (status, broken, code), of_kind in alike.items()
    ]
    return sorted(kinds, key=lambda kind: -kind.count)


def active_alerts(states: Sequence[AlertState]) -> list[wire.Alert]:
    """Alerts that are not fine."""
    return [
        wire.Alert(name=state.alert, level=state.level, since=state.since, text=event_in_words(_as_event(state)))
        for state in states
        if state.level != "ok"
    ]


def told_alerts(events: Sequence[AlertEvent]) -> list[wire.AlertEvent]:
    """Changes of alerts."""
    return [
        wire.AlertEvent(
            at=event.at, name=event.alert, level=event.level, previous=event.previous, text=event_in_words(event)
        )
        for event in events
    ]


def used(amount: float, most: float) -> wire.Used:
    """How much there is of what there may be; ``most`` 0 is no bound."""
    return wire.Used(used=amount, max=most, share=_rounded(amount / most) if most else None)


def usd(nano: int) -> float:
    """Nano-dollars as dollars."""
    return nano / NANO_PER_USD


def _as_event(state: AlertState) -> AlertEvent:
    """How an alert stands, as it would be told now."""
    reading = state.reading
    return AlertEvent(
        id="",
        alert=state.alert,
        level=state.level,
        previous="ok",
        value=reading.value,
        threshold=reading.threshold_of(state.level),
        unit=reading.unit,
        at=state.since,
        since=state.since,
        about=reading.about,
    )


def _times(timing: Timing) -> wire.Times:
    return wire.Times(
        count=timing.count,
        mean_ms=_ms(timing.mean_s, timing),
        p50_ms=_ms(timing.percentile_s(0.5), timing),
        p95_ms=_ms(timing.percentile_s(0.95), timing),
        p99_ms=_ms(timing.percentile_s(0.99), timing),
    )


def _point(bucket: Bucket, step_s: int) -> wire.Point:
    return wire.Point(
        at=bucket.start_at,
        partial=bucket.seconds < step_s,
        requests=bucket.requests,
        errors=bucket.errors,
        client_errors=bucket.client_errors,
        p50_ms=_ms(bucket.response.percentile_s(0.5), bucket.response),
        p95_ms=_ms(bucket.response.percentile_s(0.95), bucket.response),
        p99_ms=_ms(bucket.response.percentile_s(0.99), bucket.response),
        first_token_p50_ms=_ms(bucket.first_token.percentile_s(0.5), bucket.first_token),
        first_token_p95_ms=_ms(bucket.first_token.percentile_s(0.95), bucket.first_token),
        tokens=_tokens(bucket, 1.0),
        cost_usd=usd(bucket.nano),
        cache_hit_rate=_hit_rate(bucket),
    )


def _tokens(bucket: Bucket, factor: float) -> wire.Tokens:
    of_class = {name: _rounded(factor * bucket.tokens.get(name, 0)) for name in wire.Tokens.__struct_fields__}
    return wire.Tokens(**of_class)


def _cache(bucket: Bucket) -> wire.Cache:
    return wire.Cache(
        hits=bucket.cache.get("hit", 0),
        joined=bucket.cache.get("joined", 0),
        misses=bucket.cache.get("miss", 0),
        hit_rate=_hit_rate(bucket),
        saved_usd=usd(bucket.saved_nano),
    )


def _hit_rate(bucket: Bucket) -> float | None:
    return _rounded(bucket.cache_hit_rate) if bucket.cache_lookups else None


def _models(bucket: Bucket) -> list[wire.ModelRequests]:
    most_first = sorted(bucket.of_model.items(), key=lambda item: (-item[1], item[0]))
    return [wire.ModelRequests(model=model, requests=requests) for model, requests in most_first]


def _changes(now: Bucket, before: Bucket) -> list[wire.Change]:
    """The trends, in the units and by the names of the wire; null where a window had nothing to measure."""
    found = trends(now, before)

    def times(name: str, trend: Trend, kind: str) -> wire.Change:
        has_now, has_before = (bool(getattr(bucket, kind).count) for bucket in (now, before))
        return _change(name, trend, _MS, has_now=has_now, has_before=has_before)

    return [
        _change("requestsPerMinute", found.requests_per_minute),
        _change("tokensPerMinute", found.tokens_per_minute),
        _change("usdPerMinute", found.nano_per_minute, 1 / NANO_PER_USD),
        times("responseMeanMs", found.response_mean_s, "response"),
        times("responseP95Ms", found.response_p95_s, "response"),
        times("firstTokenP95Ms", found.first_token_p95_s, "first_token"),
        _change("errorRate", found.error_rate, has_now=bool(now.requests), has_before=bool(before.requests)),
        _change(
            "cacheHitRate",
            found.cache_hit_rate,
            has_now=bool(now.cache_lookups),
            has_before=bool(before.cache_lookups),
        ),
    ]


def _change(
    figure: str, trend: Trend, factor: float = 1.0, *, has_now: bool = True, has_before: bool = True
) -> wire.Change:
    return wire.Change(
        figure=figure,
        now=factor * trend.now if has_now else None,
        before=factor * trend.before if has_before else None,
        change=_rounded(trend.change) if has_now and has_before and trend.change is not None else None,
        regression=trend.regression,
    )


def _spenders(nano: Mapping[str, int], whole: int) -> list[wire.Spent]:
    """The dearest by name, and the others together."""
    dearest = sorted(nano.items(), key=lambda item: (item[0] == minutes.OTHER, -item[1], item[0]))
    named = [(name, cost) for name, cost in dearest[:MOST_SPENDERS] if name != minutes.OTHER]
    others = sum(nano.values()) - sum(cost for _, cost in named)
    if others:
        named.append((minutes.OTHER, others))
    return [wire.Spent(name=name, usd=usd(cost), share=_share(cost, whole) or 0.0) for name, cost in named]


def _share(part: int, whole: int) -> float | None:
    return _rounded(part / whole) if whole else None


def _ms(seconds: float, timing: Timing) -> float | None:
    return round(_MS * seconds, 2) if timing.count else None


def _rounded(value: float) -> float:
    """Six digits say enough, and are short."""
    return float(f"{value:.6g}")
