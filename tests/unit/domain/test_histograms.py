"""Histograms: bounds that every release shares, percentiles within a bucket, sums that add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.histograms import BOUNDS_S, BUCKETS, PER_OCTAVE, Histogram, bucket_of, percentile_s

TIMES = st.floats(min_value=0, max_value=BOUNDS_S[-1], allow_nan=False)


def test_every_fourth_bound_is_one_of_the_genai_conventions() -> None:
    shown = BOUNDS_S[::PER_OCTAVE]
    for bound in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92):
        assert any(one == pytest.approx(bound) for one in shown)


def test_a_time_at_a_bound_is_within_it() -> None:
    assert bucket_of(BOUNDS_S[5]) == 5
    assert bucket_of(BOUNDS_S[5] * 1.0001) == 6


def test_what_is_longer_than_every_bound_has_a_bucket_of_its_own() -> None:
    histogram = Histogram()
    histogram.observe(10_000.0)
    assert histogram.counts[BUCKETS - 1] == 1
    assert percentile_s(histogram.counts, 0.5) == BOUNDS_S[-1]


def test_a_negative_time_counts_as_none() -> None:
    histogram = Histogram()
    histogram.observe(-1.0)
    assert (histogram.counts[0], histogram.total_s) == (1, 0.0)


def test_without_times_a_percentile_is_zero() -> None:
    assert percentile_s(Histogram().counts, 0.99) == 0.0


def test_a_share_above_all_is_the_longest_time() -> None:
    histogram = Histogram()
    histogram.observe(1.0)
    assert percentile_s(histogram.counts, 1.5) == BOUNDS_S[-1]


@given(st.lists(TIMES, min_size=1, max_size=200), st.floats(min_value=0.01, max_value=1.0))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    histogram = Histogram()
    for seconds in times:
        histogram.observe(seconds)
    ordered = sorted(times)
    rank = share * len(ordered)
    true = ordered[min(len(ordered) - 1, max(0, -int(-rank // 1) - 1))]
    found = percentile_s(histogram.counts, share)
    assert abs(bucket_of(found * 0.999999) - bucket_of(true)) <= 1
    assert histogram.total_s == pytest.approx(sum(times))


@given(st.lists(TIMES, max_size=50), st.lists(TIMES, max_size=50))
def test_histograms_of_two_workers_add_up(here: list[float], there: list[float]) -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for seconds in here:
        one.observe(seconds)
        both.observe(seconds)
    for seconds in there:
        other.observe(seconds)
        both.observe(seconds)
    assert [a + b for a, b in zip(one.counts, other.counts, strict=True)] == both.counts
