"""What the dashboard shows of buckets and alerts."""

from __future__ import annotations

import pytest

from app.domain import minutes
from app.domain.alerts import AlertEvent, AlertState, Level, Reading
from app.domain.buckets import Bucket, bucket_from, total
from app.domain.dashboard_figures import (
    MOST_SPENDERS,
    OBJECTIVE,
    active_alerts,
    availability,
    failure_kinds,
    performance,
    response_times,
    spend,
    told_alerts,
    used,
)
from app.domain.histograms import bucket_of
from app.schemas.dashboard import Change, Performance, RequestFailure

NANO = 1_000_000_000


def minute(number: int = 0, *, seconds: int = 60, **figures: int) -> Bucket:
    """A minute with figures by their names, ``__`` standing for a colon."""
    named = {name.replace("__", ":"): value for name, value in figures.items()}
    return bucket_from(named, number=number, start_at=60 * number, seconds=seconds)


def timed(kind: minutes.Times, count: int, seconds: float) -> dict[str, int]:
    """Figures of so many times of that length."""
    return {kind.fields[bucket_of(seconds)]: count, kind.total: int(1e6 * count * seconds)}


def minute_of(figures: dict[str, int], number: int = 0) -> Bucket:
    return bucket_from(figures, number=number, start_at=60 * number, seconds=60)


def shown(*now: Bucket, before: tuple[Bucket, ...] = ()) -> Performance:
    return performance(now, before, whole=total(now), step_s=60, requests_per_minute_now=12.0)


def change(figures: Performance, name: str) -> Change:
    (found,) = [one for one in figures.trend if one.figure == name]
    return found


def test_counts_of_a_window_are_those_of_its_minutes_together() -> None:
    figures = shown(
        minute(1, requests=10, errors=1, broken=1, streams=4, tokens__input=100, tokens__cache_read=7, nano=3 * NANO),
        minute(2, requests=30, client_errors=2, refused=1, tokens__input=50, tokens__output=20),
    )
    assert (figures.requests, figures.errors, figures.broken, figures.streams) == (40, 1, 1, 4)
    assert (figures.client_errors, figures.refused, figures.cost_usd) == (2, 1, 3.0)
    assert (figures.requests_per_minute, figures.requests_per_minute_now) == (20, 12)
    assert figures.error_rate == pytest.approx(0.025)
    tokens, per_minute = figures.tokens, figures.tokens_per_minute
    assert (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write) == (150, 20, 7, 0)
    assert (per_minute.input, per_minute.output) == (75, 10)


def test_times_are_milliseconds() -> None:
    figures = shown(minute_of({minutes.REQUESTS: 10} | timed(minutes.RESPONSE, 10, 0.64)))
    assert figures.avg_response_time == figures.response.mean_ms == pytest.approx(640, rel=0.01)
    assert figures.response.count == 10
    assert figures.response.p50_ms == pytest.approx(640, rel=0.2)
    assert figures.series[0].p99_ms == pytest.approx(640, rel=0.2)


def test_what_was_not_measured_is_null_and_not_zero() -> None:
    figures = shown(minute())
    assert figures.avg_response_time is None
    assert (figures.first_token.count, figures.first_token.p95_ms) == (0, None)
    assert (figures.error_rate, figures.cache.hit_rate, figures.availability.share) == (None, None, None)
    assert figures.series[0].p50_ms is None


def test_a_window_that_has_just_begun_divides_by_nothing() -> None:
    figures = shown(minute(seconds=0, requests=1, tokens__input=5))
    assert (figures.requests_per_minute, figures.tokens_per_minute.input) == (0, 0)


def test_points_are_in_order_and_the_running_one_is_marked() -> None:
    figures = shown(minute(1, requests=1), minute(2, seconds=20, requests=2), before=(minute(0, requests=5),))
    assert [(point.at, point.partial, point.requests) for point in figures.series] == [(60, False, 1), (120, True, 2)]
    assert [point.requests for point in figures.before] == [5]


def test_the_cache_tells_what_it_spared() -> None:
    cache = shown(minute(cache__hit=2, cache__joined=1, cache__miss=1, cache__bypass=9, saved_nano=NANO)).cache
    assert (cache.hits, cache.joined, cache.misses, cache.hit_rate, cache.saved_usd) == (2, 1, 1, 0.75, 1.0)


def test_models_are_listed_by_their_requests() -> None:
    figures = shown(minute(model__b=1, model__a=1, model__c=5))
    assert [(model.model, model.requests) for model in figures.models] == [("c", 5), ("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("errors", "met", "left"), [(0, True, 1.0), (5, True, 0.5), (10, True, 0.0), (20, False, -1.0)]
)
def test_availability_is_beside_its_objective(errors: int, met: bool, left: float) -> None:
    found = availability(minute(requests=10_000, errors=errors))
    assert found.share == pytest.approx(1 - errors / 10_000)
    assert (found.objective, found.met) == (OBJECTIVE, met)
    assert found.budget_left == pytest.approx(left)


def test_a_regression_is_marked() -> None:
    slow, fast = ({minutes.REQUESTS: 100} | timed(minutes.RESPONSE, 100, seconds) for seconds in (2.0, 0.5))
    figures = shown(minute_of(slow, 1), before=(minute_of(fast),))
    slower = change(figures, "responseP95Ms")
    assert slower.regression
    assert slower.now is not None
    assert slower.before is not None
    assert slower.change is not None
    assert slower.now > 1000 > slower.before
    assert slower.change > 1
    assert not change(figures, "requestsPerMinute").regression


def test_what_had_nothing_to_measure_is_not_compared() -> None:
    figures = shown(minute(1, requests=3), before=(minute(),))
    rate, requests = change(figures, "errorRate"), change(figures, "requestsPerMinute")
    assert (rate.now, rate.before, rate.change) == (0, None, None)
    assert (requests.now, requests.before, requests.change) == (3, 0, None)
    assert change(figures, "cacheHitRate").now is None
    assert change(figures, "firstTokenP95Ms").now is None


def test_money_of_the_trend_is_dollars() -> None:
    assert change(shown(minute(nano=NANO)), "usdPerMinute").now == pytest.approx(1.0)


def test_spend_is_listed_from_the_dearest() -> None:
    found = spend(minute(nano=4 * NANO, nano__tenant__a=NANO, nano__tenant__b=3 * NANO, nano__model__m=4 * NANO))
    assert found.total_usd == 4
    assert [(one.name, one.usd, one.share) for one in found.by_tenant] == [("b", 3, 0.75), ("a", 1, 0.25)]
    assert [one.name for one in found.by_model] == ["m"]


def test_small_spenders_are_one_entry_at_the_end() -> None:
    many = {f"{minutes.NANO_OF_TENANT}t{number:02}": 1000 - number for number in range(MOST_SPENDERS + 5)}
    many[minutes.NANO_OF_TENANT + minutes.OTHER] = 10_000
    whole = sum(many.values())
    found = spend(minute_of(many | {minutes.NANO: whole}))
    assert len(found.by_tenant) == MOST_SPENDERS + 1
    assert found.by_tenant[0].name == "t00"
    assert found.by_tenant[-1].name == minutes.OTHER
    assert sum(one.usd for one in found.by_tenant) == pytest.approx(whole / NANO)


def test_spend_without_a_sum_has_no_shares() -> None:
    assert spend(minute(nano__tenant__a=5)).by_tenant[0].share == 0


def test_response_times_come_by_minute() -> None:
    empty, some = response_times([minute(0), minute_of({minutes.REQUESTS: 2} | timed(minutes.RESPONSE, 2, 0.1), 1)])
    assert (empty.at, empty.requests, empty.mean_ms, empty.p99_ms) == (0, 0, None, None)
    assert (some.at, some.requests) == (60, 2)
    assert some.mean_ms == pytest.approx(100, rel=0.01)


def failure(status: int, code: str, *, at: float, broken: bool = False) -> RequestFailure:
    return RequestFailure(at=at, request_id="", status=status, broken=broken, code=code, path="", model="", tenant="")


def test_failures_that_are_alike_are_counted() -> None:
    found = failure_kinds(
        [
            failure(200, "overloaded", at=9, broken=True),
            failure(503, "overloaded", at=8),
            failure(503, "overloaded", at=7),
        ]
    )
    assert [(kind.status, kind.broken, kind.code, kind.count, kind.at) for kind in found] == [
        (503, False, "overloaded", 2, 8),
        (200, True, "overloaded", 1, 9),
    ]


def state(level: Level, *, warning: float | None = 0.05) -> AlertState:
    reading = Reading(alert="error_rate", value=0.2, unit="share", warning=warning, critical=0.1)
    return AlertState(reading=reading, level=level, since=5.0, seen_since=5.0, read_at=9.0)


@pytest.mark.parametrize(
    ("level", "warning", "threshold"), [("warning", 0.05, "5 %"), ("critical", 0.05, "10 %"), ("warning", None, "10 %")]
)
def test_active_alerts_say_what_is_the_matter(level: Level, warning: float | None, threshold: str) -> None:
    (alert,) = active_alerts([state("ok"), state(level, warning=warning)])
    assert (alert.name, alert.level, alert.since) == ("error_rate", level, 5.0)
    assert "20 %" in alert.text
    assert f"threshold {threshold}" in alert.text


def test_changes_of_alerts_are_told_in_words() -> None:
    event = AlertEvent(
        id="1",
        alert="error_rate",
        level="ok",
        previous="critical",
        value=0.0,
        threshold=0.05,
        unit="share",
        at=7.0,
        since=7.0,
    )
    (told,) = told_alerts([event])
    assert (told.at, told.name, told.level, told.previous) == (7.0, "error_rate", "ok", "critical")
    assert told.text.startswith("Resolved")


def test_without_a_bound_there_is_no_share() -> None:
    assert (used(5, 10).share, used(5, 0).share) == (0.5, None)
