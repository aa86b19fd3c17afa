"""A window beside the one before it, and what is marked as a regression."""

from __future__ import annotations

import pytest

from app.domain import minutes
from app.domain.buckets import Bucket, bucket_from
from app.domain.trends import ENOUGH, Trend, trends
from tests.support.buckets import timed


def window(figures: dict[str, int], *, seconds: int = 3600) -> Bucket:
    return bucket_from(figures, number=0, start_at=0, seconds=seconds)


def slow(seconds: float, count: int = ENOUGH) -> Bucket:
    times = [seconds] * count
    return window(timed(minutes.RESPONSE, times) | timed(minutes.FIRST_TOKEN, times))


def failing(errors: int, requests: int) -> Bucket:
    return window({"requests": requests, "errors": errors})


def cached(hits: int, misses: int) -> Bucket:
    return window({"cache:hit": hits, "cache:miss": misses})


def test_windows_of_different_lengths_compare_by_the_minute() -> None:
    now = window({"requests": 60, "tokens:input": 30, "tokens:output": 30, "nano": 120}, seconds=1800)
    before = window({"requests": 60, "tokens:input": 120, "nano": 120})
    found = trends(now, before)
    assert found.requests_per_minute == Trend(now=2.0, before=1.0, change=1.0)
    assert found.tokens_per_minute == Trend(now=2.0, before=2.0, change=0.0)
    assert found.nano_per_minute == Trend(now=4.0, before=2.0, change=1.0)


def test_from_nothing_there_is_no_change_to_tell() -> None:
    found = trends(window({"requests": 60}), window({}, seconds=0))
    assert found.requests_per_minute == Trend(now=1.0, before=0.0, change=None)


def test_more_or_fewer_requests_are_no_regression() -> None:
    busy, idle = window({"requests": 10_000, "nano": 10**9}), window({"requests": 100})
    for now, before in ((busy, idle), (idle, busy)):
        found = trends(now, before)
        assert not found.requests_per_minute.regression
        assert not found.nano_per_minute.regression


@pytest.mark.parametrize(
    ("now_s", "before_s", "regression"),
    [(1.5, 1.0, True), (1.0, 1.0, False), (1.0, 1.5, False), (1.1, 1.0, False), (0.004, 0.002, False)],
)
def test_times_that_became_much_longer_are_a_regression(now_s: float, before_s: float, regression: bool) -> None:
    found = trends(slow(now_s), slow(before_s))
    assert found.response_mean_s.regression == regression
    assert found.response_p95_s.regression == regression
    assert found.first_token_p95_s.regression == regression


@pytest.mark.parametrize(("count", "count_before"), [(ENOUGH - 1, 100), (100, ENOUGH - 1)])
def test_few_requests_say_nothing_about_times(count: int, count_before: int) -> None:
    assert not trends(slow(9.0, count), slow(1.0, count_before)).response_p95_s.regression


@pytest.mark.parametrize(
    ("now", "before", "regression"),
    [
        (failing(2, 100), failing(0, 100), True),
        (failing(1, 200), failing(0, 200), False),
        (failing(0, 100), failing(5, 100), False),
        (failing(19, 19), failing(0, 100), False),
        (failing(50, 100), failing(0, 19), False),
    ],
)
def test_a_point_more_of_errors_is_a_regression(now: Bucket, before: Bucket, regression: bool) -> None:
    assert trends(now, before).error_rate.regression == regression


@pytest.mark.parametrize(
    ("now", "before", "regression"),
    [
        (cached(40, 60), cached(60, 40), True),
        (cached(55, 45), cached(60, 40), False),
        (cached(60, 40), cached(40, 60), False),
        (cached(0, 19), cached(60, 40), False),
    ],
)
def test_far_fewer_hits_are_a_regression(now: Bucket, before: Bucket, regression: bool) -> None:
    assert trends(now, before).cache_hit_rate.regression == regression
