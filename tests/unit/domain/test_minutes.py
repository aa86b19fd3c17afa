"""The names of the figures in Redis are a layout: they do not change by accident."""

from __future__ import annotations

from app.domain import minutes
from app.domain.histograms import BUCKETS


def test_a_histogram_has_a_field_for_every_bucket_and_one_for_the_sum() -> None:
    assert len(minutes.RESPONSE.fields) == BUCKETS
    assert minutes.RESPONSE.fields[3] == "response:3"
    assert minutes.RESPONSE.total == "response_us"
    assert minutes.FIRST_TOKEN.fields[0] == "first_token:0"


def test_after_an_outage_tokens_and_money_are_counted_and_how_its_minutes_were_is_not() -> None:
    money = {"nano": 5, "nano:model:m": 5, "nano:tenant:t": 5, "saved_nano": 1, "tokens:input": 7}
    moment = {"requests": 3, "errors": 1, "response:5": 3, "response_us": 9, "cache:hit": 1, "model:m": 3}
    assert minutes.without_the_moment(money | moment) == money


def test_every_gauge_is_marked_as_a_peak() -> None:
    gauges = (
        minutes.SESSIONS_LIVE,
        minutes.SESSIONS_SHARE,
        minutes.MEMORY_SHARE,
        minutes.STORE_MEMORY_SHARE,
        minutes.REPLICAS,
    )
    assert all(gauge.startswith(minutes.PEAK) for gauge in gauges)
    assert len(set(gauges)) == len(gauges)
