"""The names of the figures in Redis are a layout: they do not change by accident."""

from __future__ import annotations

from app.domain import minutes
from app.domain.histograms import BUCKETS


def test_a_histogram_has_a_field_for_every_bucket_and_one_for_the_sum() -> None:
    assert len(minutes.RESPONSE.fields) == BUCKETS
    assert minutes.RESPONSE.fields[3] == "response:3"
    assert minutes.RESPONSE.total == "response_us"
    assert minutes.FIRST_TOKEN.fields[0] == "first_token:0"


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
